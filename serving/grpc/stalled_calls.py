"""Looks after gRPC calls that wait for their clients: ends those that wait for too long, and those
of connections whose unfinished messages hold too many bytes.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from serving.grpc.open_calls import OpenCall, OpenCalls, Why
from serving.grpc.unfinished_messages import Place, Unread

INTERVAL_S = 0.5


class Sweeper:
    """Call `sweep` every `INTERVAL_S`. A connection may hold a quarter of `limit_bytes`, or one
    whole message, a caller half.
    """

    def __init__(
        self, calls: OpenCalls, unread: Unread, *, limit_bytes: int, max_message_bytes: int
    ) -> None:
        self._calls = calls
        self._unread = unread
        self._limit_bytes = limit_bytes
        self._per_connection = max(max_message_bytes, limit_bytes // 4)
        self._per_caller = max(max_message_bytes, limit_bytes // 2)

    def sweep(self, late_s: float = 0.0) -> None:
        """`late_s` is how much later than due this comes: no client is blamed for a loop that
        stalled, and did not read.
        """
        stalled = late_s > INTERVAL_S
        if stalled:
            self._calls.excuse(late_s - INTERVAL_S)
        self._calls.sweep()
        if stalled:
            return
        waiting: dict[Place, list[OpenCall]] = defaultdict(list)
        for call in self._calls.waiting(INTERVAL_S):
            place = read_place(call.connection)
            if place is not None:
                waiting[place].append(call)
        held = dict(self._unread.measure(waiting))
        while (place := self._find_excess(held, lambda one: waiting[one][0].caller)) is not None:
            del held[place]
            self._calls.end_all(waiting[place], Why.UNFINISHED)

    def _find_excess(
        self, held: Mapping[Place, int], caller: Callable[[Place], str]
    ) -> Place | None:
        """The connection that is to pay for too many bytes held, if there are too many."""
        if not held:
            return None
        largest = max(held, key=lambda one: held[one])
        if held[largest] > self._per_connection or sum(held.values()) > self._limit_bytes:
            return largest
        callers: dict[str, int] = defaultdict(int)
        for place, size in held.items():
            callers[caller(place)] += size
        greedy = max(callers, key=lambda one: callers[one])
        if callers[greedy] <= self._per_caller:
            return None
        return max((one for one in held if caller(one) == greedy), key=lambda one: held[one])


def read_address(peer: str) -> str:
    """The address in what grpc says of a peer, such as `ipv4:127.0.0.1:50051`."""
    kind, _, place = peer.partition(":")
    return unquote(place.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else peer


def read_place(peer: str) -> Place | None:
    """Its address and port, where it has one."""
    port = peer.rpartition(":")[2]
    return (read_address(peer), int(port)) if port.isdigit() else None
