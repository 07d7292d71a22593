"""Measures the bytes of gRPC messages that have begun and not ended, by connection.

The library holds a message until it is complete. The kernel reports what a connection has received
(Linux, `TCP_INFO`); minus the complete messages since then, this is what it holds. Only connections
with a call that waits for its client are measured.
"""

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from serving.grpc.peers import PeerAddress

_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = 128  # position of the number in the kernel's struct tcp_info
_HEAD_BYTES = 256  # of one message's frames and headers
_DESCRIPTORS = "/proc/self/fd"


class UnfinishedMessages:
    """How many bytes each watched connection holds. `received` queries the kernel."""

    def __init__(self, received: Callable[[], Mapping[PeerAddress, int]]) -> None:
        self._received = received
        self._began: dict[PeerAddress, int] = {}  # received when watched first, heard since

    @property
    def watches(self) -> bool:
        """Whether any connection is watched, so that its messages must be reported."""
        return bool(self._began)

    def count_message(self, place: PeerAddress | None, size_bytes: int) -> None:
        """Note that a whole message came."""
        if place in self._began:
            self._began[place] += size_bytes + _HEAD_BYTES

    def measure(self, peers: Iterable[PeerAddress]) -> Mapping[PeerAddress, int]:
        """Return the bytes of unfinished messages on these connections since the watch began."""
        peers = set(peers)
        received = self._received() if peers else {}
        began: dict[PeerAddress, int] = {}
        held: dict[PeerAddress, int] = {}
        for place in peers & received.keys():
            now = received[place]
            began[place] = min(self._began.get(place, now), now)
            held[place] = now - began[place]
        self._began = began
        return held


def received_bytes(port: int) -> dict[PeerAddress, int]:
    """Return what each of this process's connections to the port has received; empty if the system
    does not report it.
    """
    found: dict[PeerAddress, int] = {}
    for place, connection in _list_connections(port):
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            (found[place],) = struct.unpack_from("Q", told, _BYTES_RECEIVED)
        except (OSError, struct.error):  # the connection has ended, or the kernel is older
            continue
    return found


def close_connections(port: int, peers: Container[PeerAddress]) -> None:
    """Close these connections to the port; the library notices."""
    for place, connection in _list_connections(port):
        if place in peers:
            with contextlib.suppress(OSError):  # the connection has ended
                connection.shutdown(socket.SHUT_RDWR)


def _list_connections(port: int) -> Iterator[tuple[PeerAddress, socket.socket]]:
    """Yield the peer of each connection, and a copy of its socket that is valid until the next
    one.
    """
    try:
        numbers = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return
    for number in numbers:
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with copy:
            place = _find_peer(copy, port)
            if place is not None:
                yield place, copy


def _find_peer(connection: socket.socket, port: int) -> PeerAddress | None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        if connection.type != socket.SOCK_STREAM or connection.getsockname()[1] != port:
            return None
        address, peer_port = connection.getpeername()[:2]
    except OSError:  # a listening socket, or a closed one
        return None
    return address.removeprefix("::ffff:"), peer_port
