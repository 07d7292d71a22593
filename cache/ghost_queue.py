"""The ghost queue of S3-FIFO: keys evicted recently without a hit, in eight bytes each.

A table of hashes with the time of their eviction, as S3-FIFO proposes (see `cache/s3_fifo.py`). A
key has two possible slots and takes the one with the earlier eviction. A key that lost its slot, or
collides with another one (1 in 2^31), only waits in the wrong queue. Callers cannot choose keys
that share slots: keys are keyed hashes, and Python's hash of them is keyed too.
"""

import numpy as np

from core.messages import Key

SLOT_BYTES = 8
_TAG_BITS = 32
_TAG = (1 << _TAG_BITS) - 1


class GhostQueue:
    """The most recent evictions, in `slots` slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._table = np.zeros(slots, np.uint64).data  # pages never written to take no RAM
        self._evictions = 0

    def add(self, key: Key) -> None:
        """Record that the key is evicted now."""
        hashed, table = hash(key), self._table
        tag = hashed >> _TAG_BITS & _TAG
        slot, other = hashed % self._slots, tag % self._slots
        evictions = self._evictions = self._evictions + 1
        age = (evictions - (table[slot] >> _TAG_BITS)) & _TAG
        if (evictions - (table[other] >> _TAG_BITS)) & _TAG > age:
            slot = other
        table[slot] = (evictions & _TAG) << _TAG_BITS | tag

    def contains(self, key: Key, window: int) -> bool:
        """Whether the key is among the last `window` evictions; `window` is at most `slots`."""
        if not self._evictions:
            return False
        hashed, table = hash(key), self._table
        tag = hashed >> _TAG_BITS & _TAG
        for slot in (hashed % self._slots, tag % self._slots):
            ghost = table[slot]
            if ghost & _TAG == tag and ghost:
                age = (self._evictions - (ghost >> _TAG_BITS)) & _TAG
                if age < window:
                    return True
        return False
