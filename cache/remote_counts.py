"""Counts of the Redis cache in a process; this module does not need the client library."""

from dataclasses import dataclass
from typing import Literal, get_args

from cache.circuit_breaker import BreakerState

Reason = Literal["timeout", "connection", "refused", "invalid", "unstorable", "dropped"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class RemoteCounts:
    """Counts of keys since the cache was created, and its current state."""

    hits: int
    misses: int  # looked up without an answer, for any reason
    stores: int
    errors: dict[Reason, int]  # those that occurred
    lookups: int  # answered lookups, each of many keys
    lookup_s: float  # seconds of these lookups
    lookup_state: BreakerState
    store_state: BreakerState
    pending_bytes: int
