"""Looks up one row in the local cache by its bytes, without a request around it.

For endpoints that have seen the same request before, apart from the bytes of its row.
"""

import hashlib
import time
from collections.abc import Callable

from cache.local_cache import LocalCache
from cache.packing import Packed, unpack
from core.messages import Key, Reply, Request, RowAnswers
from serving.engine.admission import Admission
from serving.engine.calls import make_reply
from serving.engine.catalog import ServedRoute


class CachedRows:
    """The local cache, and the hashes that lead to its keys."""

    def __init__(
        self,
        memory: LocalCache,
        admission: Admission,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory = memory
        self._admission = admission
        self._clock = clock

    @property
    def skipped(self) -> int:
        """Return how many rows were not cached because they cost less."""
        return self._admission.skipped_rows

    def skips(self, served: ServedRoute) -> bool:
        """Return whether requests of this route are not cached now."""
        return self._admission.skips_cache(served)

    def hasher(self, request: Request, served: ServedRoute) -> "hashlib.blake2b":
        """Return the hash of all that goes into a row's key but its bytes; `request` is an example
        with one row.
        """
        return self._admission.row_hasher(request, served)

    def find(self, key: Key, served: ServedRoute) -> Packed | None:
        """Return a stored answer, and count it in the route's metrics. None if `Engine.admit` must
        follow, also for an answer that is not stored as bytes.
        """
        if not served.is_cached:
            return None
        started = self._clock()
        packed = self._memory.find_packed(key)
        if packed is not None:
            served.worth.observe(1, 1)
            exit = packed.layout.names[int.from_bytes(packed.content[-8:], "little")]
            latency_s = self._clock() - started
            served.metrics.count_rows(exit, "cache", latency_s, 1, served.full_macs)
        return packed

    def reply(self, packed: Packed, served: ServedRoute) -> Reply:
        """Return a stored answer as the reply to a request with one row."""
        zero_mj = served.metrics.energy.zero_mj
        part = RowAnswers(range(1), unpack([packed]), range(1), "cache", True, 0, zero_mj, 0.0)
        return make_reply(served, [part])
