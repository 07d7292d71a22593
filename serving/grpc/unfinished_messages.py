"""Bytes of gRPC messages that have begun and not ended, by connection.

The library keeps them to itself until a message is whole. What a connection has received is asked
of the kernel (Linux, `TCP_INFO`); less the whole messages since, that is what it holds. Only
connections with a call that waits for its client are looked at.
"""

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from serving.grpc.peers import PeerAddress

_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = 128  # where the number lies in the kernel's struct tcp_info
_HEAD_BYTES = 256  # of one message's frames and headers
_DESCRIPTORS = "/proc/self/fd"


class UnfinishedMessages:
    """How many bytes each watched connection holds. `received` asks the kernel."""

    def __init__(self, received: Callable[[], Mapping[PeerAddress, int]]) -> None:
        self._received = received
        self._began: dict[PeerAddress, int] = {}  # received when the watch began, and heard since

    @property
    def watches(self) -> bool:
        """Whether any connection is watched, so that its messages are to be told."""
        return bool(self._began)

    def count_message(self, place: PeerAddress | None, size_bytes: int) -> None:
        """A whole message came."""
        if place in self._began:
            self._began[place] += size_bytes + _HEAD_BYTES

    def measure(self, peers: Iterable[PeerAddress]) -> Mapping[PeerAddress, int]:
        """The bytes of unfinished messages on these connections since they are watched."""
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
    """What each of this process's connections to the port has received; empty where the system
    does not tell.
    """
    found: dict[PeerAddress, int] = {}
    for place, connection in _list_connections(port):
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            (found[place],) = struct.unpack_from("Q", told, _BYTES_RECEIVED)
        except (OSError, struct.error):  # it has ended, or an older kernel
            continue
    return found


def close_connections(port: int, peers: Container[PeerAddress]) -> None:
    """End these connections to the port; the library notices."""
    for place, connection in _list_connections(port):
        if place in peers:
            with contextlib.suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)


def _list_connections(port: int) -> Iterator[tuple[PeerAddress, socket.socket]]:
    """Who is at the other end of each, and a copy that is good until the next one."""
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
    except OSError:  # one that listens or has ended
        return None
    return address.removeprefix("::ffff:"), peer_port
