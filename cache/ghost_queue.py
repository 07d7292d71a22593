"""Ghosts: the keys that were evicted lately without a hit, in eight bytes each.

A table of hashes with the time of their departure, as S3-FIFO proposes (see `cache/s3_fifo.py`). A
key may stand in two slots and takes that of the earlier departure; who lost his slot, or one time
in 2^31 looks like another, only waits in the wrong queue. Nobody outside can choose keys that
share slots: they are keyed hashes, and Python's hash of them is keyed too. Knows nothing of
answers.
"""

import numpy as np

from core.messages import Key

SLOT_BYTES = 8
_TAG_BITS = 32
_TAG = (1 << _TAG_BITS) - 1


class GhostQueue:
    """The last departures, as far as `slots` slots remember them."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._table = np.zeros(slots, np.uint64).data  # pages nobody wrote to take no memory
        self._evictions = 0

    def add(self, key: Key) -> None:
        """The key leaves now."""
        hashed = hash(key)
        tag = hashed >> _TAG_BITS & _TAG
        slot, other = hashed % self._slots, tag % self._slots
        self._evictions += 1
        if self._age(other) > self._age(slot):
            slot = other
        self._table[slot] = (self._evictions & _TAG) << _TAG_BITS | tag

    def contains(self, key: Key, window: int) -> bool:
        """Whether the key is among the last `window` departures, at most as many as slots."""
        if not self._evictions:
            return False
        hashed = hash(key)
        tag = hashed >> _TAG_BITS & _TAG
        for slot in (hashed % self._slots, tag % self._slots):
            ghost = self._table[slot]
            if ghost and ghost & _TAG == tag and self._age(slot) < window:
                return True
        return False

    def _age(self, slot: int) -> int:
        return (self._evictions - (self._table[slot] >> _TAG_BITS)) & _TAG
