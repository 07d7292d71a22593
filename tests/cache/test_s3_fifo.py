"""S3-FIFO as it is kept, against S3-FIFO as one would write it down."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.s3_fifo import ENTRY_BYTES, MAX_HITS, MAX_SECOND_CHANCES, SMALL_SHARE, S3Fifo
from core.messages import Key, Outcome
from tests.cache.test_ghost_queue import SLOTS, list_keys

OUTCOME = Outcome({"label": np.zeros(1, np.int64)}, 0.5, "stage0")
KEYS = list_keys(24)
ROOM = 10  # entries


class Plain:
    """The paper's algorithm over lists; one answer is as large as the other."""

    def __init__(self) -> None:
        self.small: list[Key] = []
        self.main: list[Key] = []
        self.hits: dict[Key, int] = {}
        self.left: list[Key] = []

    def ask(self, key: Key) -> bool:
        if key in self.hits:
            self.hits[key] = min(self.hits[key] + 1, MAX_HITS)
            return True
        while len(self.hits) >= ROOM:
            self.evict()
        kept = len(self.hits)
        (self.main if key in self.left[-kept:] else self.small).append(key)
        self.hits[key] = 0
        return False

    def evict(self) -> None:
        while True:
            if len(self.small) > ROOM * SMALL_SHARE or not self.main:
                key = self.small.pop(0)
                if not self.hits[key]:
                    self.left.append(key)
                    break
                self.hits[key] = 0
            else:
                key = self.main.pop(0)
                if not self.hits[key]:
                    break
                self.hits[key] -= 1
            self.main.append(key)
        del self.hits[key]


def ask(queues: S3Fifo, key: Key) -> bool:
    entry = queues.entries.get(key)
    if entry is not None:
        entry.hits = min(entry.hits + 1, MAX_HITS)
        return True
    while queues.size_bytes + ENTRY_BYTES > ROOM * ENTRY_BYTES:
        queues.evict(now=0.0)
    queues.add(key, OUTCOME, ENTRY_BYTES, math.inf)
    return False


@settings(deadline=None)
@given(asked=st.lists(st.sampled_from(range(len(KEYS))), max_size=200))
def test_any_requests_are_hits_and_misses_as_in_the_plain_algorithm(asked: list[int]) -> None:
    plain, queues = Plain(), S3Fifo(ROOM * ENTRY_BYTES, SLOTS)
    for index in asked:
        assert ask(queues, KEYS[index]) == plain.ask(KEYS[index])
        assert queues.entries.keys() == plain.hits.keys()
    queues.check_invariants()


def test_an_eviction_spares_a_bounded_number_of_heads() -> None:
    many = 4 * MAX_SECOND_CHANCES
    queues = S3Fifo(many * ENTRY_BYTES, SLOTS)
    for key in list_keys(many):
        queues.add(key, OUTCOME, ENTRY_BYTES, math.inf)
        queues.entries[key].hits = MAX_HITS
    queues.evict(now=0.0)
    touched = [entry for entry in queues.entries.values() if entry.hits < MAX_HITS]
    assert len(touched) == MAX_SECOND_CHANCES
    assert len(queues.entries) == many - 1
    queues.check_invariants()


def test_what_is_too_old_is_not_spared() -> None:
    queues = S3Fifo(ROOM * ENTRY_BYTES, SLOTS)
    queues.add(KEYS[0], OUTCOME, ENTRY_BYTES, 5.0)
    queues.add(KEYS[1], OUTCOME, ENTRY_BYTES, math.inf)
    queues.entries[KEYS[0]].hits = MAX_HITS
    assert queues.evict(now=5.0).key == KEYS[0]
