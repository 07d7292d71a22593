"""Reads a call's client from the library's context: address, port, metadata and time left."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

TIMEOUT_SHARE = 0.99  # clients round timeouts up before sending: 10 s was seen to arrive as 10.1 s

PeerAddress = tuple[str, int]  # a peer's address and port


def read_address(peer: str) -> str:
    """Return the address in grpc's name of a peer, such as `ipv4:127.0.0.1:50051`."""
    kind, _, place = peer.partition(":")
    return unquote(place.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else peer


def read_peer(peer: str) -> PeerAddress | None:
    """Return the peer's address and port, or None if it has none."""
    port = peer.rpartition(":")[2]
    return (read_address(peer), int(port)) if port.isdigit() else None


def encode(metadata: Iterable[tuple[str, str | bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """Return metadata in the form of HTTP headers."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in metadata
    ]


def read_remaining_s(context: Any) -> float | None:  # the library's contexts have no types
    """Return how many seconds the client still waits; None if it waits forever."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else remaining_s * TIMEOUT_SHARE
