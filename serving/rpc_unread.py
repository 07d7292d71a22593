"""Bytes of gRPC messages that have begun and not ended, by connection.

The library keeps them to itself until a message is whole. What a connection has received is asked
of the kernel (Linux, `TCP_INFO`); less the whole messages since, that is what it holds. Only
connections with a call that waits for its client are looked at.
"""

import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable, Mapping

_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = 128  # where the number lies in the kernel's struct tcp_info
_HEAD_BYTES = 256  # of one message's frames and headers
_DESCRIPTORS = "/proc/self/fd"

Place = tuple[str, int]  # a peer's address and port


class Unread:
    """How many bytes each watched connection holds. `received` asks the kernel."""

    def __init__(self, received: Callable[[], Mapping[Place, int]]) -> None:
        self._received = received
        self._began: dict[Place, int] = {}  # received when the watch began, and heard since

    @property
    def watches(self) -> bool:
        """Whether any connection is watched, so that its messages are to be told."""
        return bool(self._began)

    def hear(self, place: Place | None, size_bytes: int) -> None:
        """A whole message came."""
        if place in self._began:
            self._began[place] += size_bytes + _HEAD_BYTES

    def measure(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """The bytes of unfinished messages on these connections since they are watched."""
        places = set(places)
        received = self._received() if places else {}
        began: dict[Place, int] = {}
        held: dict[Place, int] = {}
        for place in places & received.keys():
            now = received[place]
            began[place] = min(self._began.get(place, now), now)
            held[place] = now - began[place]
        self._began = began
        return held


def received_bytes(port: int) -> dict[Place, int]:
    """What each of this process's connections to the port has received; empty where the system
    does not tell.
    """
    found: dict[Place, int] = {}
    try:
        numbers = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return found
    for number in numbers:
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as copy:
                told = _ask(copy, port)
        except (OSError, struct.error):  # one that listens or has ended, or an older kernel
            continue
        if told is not None:
            place, size_bytes = told
            found[place] = size_bytes
    return found


def _ask(connection: socket.socket, port: int) -> tuple[Place, int] | None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if connection.type != socket.SOCK_STREAM or connection.getsockname()[1] != port:
        return None
    address, peer_port = connection.getpeername()[:2]
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    (size_bytes,) = struct.unpack_from("Q", told, _BYTES_RECEIVED)
    return (address.removeprefix("::ffff:"), peer_port), size_bytes
