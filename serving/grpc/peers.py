"""What the library says of a call's client: its address and port, its metadata, and how long it
waits.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

TIMEOUT_SHARE = 0.99  # clients round timeouts up before sending: 10 s was seen to arrive as 10.1 s

PeerAddress = tuple[str, int]  # a peer's address and port


def read_address(peer: str) -> str:
    """The address in what grpc says of a peer, such as `ipv4:127.0.0.1:50051`."""
    kind, _, place = peer.partition(":")
    return unquote(place.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else peer


def read_peer(peer: str) -> PeerAddress | None:
    """Its address and port, where it has one."""
    port = peer.rpartition(":")[2]
    return (read_address(peer), int(port)) if port.isdigit() else None


def encode(metadata: Iterable[tuple[str, str | bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """As HTTP's headers are given."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in metadata
    ]


def read_remaining_s(context: Any) -> float | None:  # the library's contexts have no types
    """How long the client still waits; None when it waits for ever."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else remaining_s * TIMEOUT_SHARE
