"""Ends gRPC calls that wait too long for their clients, and those of connections whose unfinished
messages hold too many bytes.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

from serving.grpc.open_calls import EndReason, OpenCall, OpenCalls
from serving.grpc.peers import PeerAddress, read_peer
from serving.grpc.unfinished_messages import UnfinishedMessages, close_connections

INTERVAL_S = 0.5
_log = logging.getLogger(__name__)


class StalledCallSweeper:
    """`run` it beside the server. A connection may hold a quarter of `limit_bytes`, or one whole
    message, a caller half.
    """

    def __init__(
        self,
        calls: OpenCalls,
        unread: UnfinishedMessages,
        *,
        limit_bytes: int,
        max_message_bytes: int,
    ) -> None:
        self._calls = calls
        self._unread = unread
        self._limit_bytes = limit_bytes
        self._unreading: set[PeerAddress] = set()  # connections to close
        self._per_connection = max(max_message_bytes, limit_bytes // 4)
        self._per_caller = max(max_message_bytes, limit_bytes // 2)

    async def run(self, port: int) -> None:
        """Sweep every `INTERVAL_S`, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            try:
                self.sweep(late_s=loop.time() - due)
                if self._unreading:
                    close_connections(port, self._unreading)
                    self._unreading.clear()
            except Exception:
                _log.exception("the sweep of open gRPC calls failed")

    def note_end(self, call: OpenCall, why: EndReason) -> None:
        """Note that the server ends a call. A status comes after the responses, so that a client
        that does not read them must lose its connection.
        """
        place = read_peer(call.connection)
        if place is not None and (why is EndReason.UNREAD or call.context.done()):
            self._unreading.add(place)

    def count_message(self, call: OpenCall, raw: bytes) -> None:
        """Note that a whole message came."""
        if self._unread.watches:
            self._unread.count_message(read_peer(call.connection), len(raw))

    def sweep(self, late_s: float = 0.0) -> None:
        """End calls that wait too long. `late_s` is how late this sweep is: while the loop stalled
        and did not read, no client is at fault.
        """
        stalled = late_s > INTERVAL_S
        if stalled:
            self._calls.extend_deadlines(late_s - INTERVAL_S)
        self._calls.sweep()
        if stalled:
            return
        waiting: dict[PeerAddress, list[OpenCall]] = defaultdict(list)
        for call in self._calls.waiting(INTERVAL_S):
            place = read_peer(call.connection)
            if place is not None:
                waiting[place].append(call)
        held = dict(self._unread.measure(waiting))
        while (place := self._find_excess(held, lambda one: waiting[one][0].caller)) is not None:
            del held[place]
            self._calls.end_all(waiting[place], EndReason.UNFINISHED)

    def _find_excess(
        self, held: Mapping[PeerAddress, int], caller: Callable[[PeerAddress], str]
    ) -> PeerAddress | None:
        """Return the connection to close if too many bytes are held, else None."""
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
