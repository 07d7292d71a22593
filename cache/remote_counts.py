"""What a process has had of the remote cache, as values; readable without its client library."""

from dataclasses import dataclass
from typing import Literal, get_args

from cache.circuit_breaker import BreakerState

Reason = Literal["timeout", "connection", "refused", "invalid", "unstorable", "dropped"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class RemoteCounts:
    """Counts since the cache was made, in keys; the rest as it is now."""

    hits: int
    misses: int  # asked for without an answer, whatever the reason
    stores: int
    errors: dict[Reason, int]  # those that occurred
    lookups: int  # that were answered, each for many keys
    lookup_s: float  # that these took
    lookup_state: BreakerState
    store_state: BreakerState
    pending_bytes: int
