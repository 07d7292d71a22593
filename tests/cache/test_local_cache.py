"""The first tier: bounded in bytes, nothing old or pinned, what is asked for again stays."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.ghost_queue import SLOT_BYTES
from cache.local_cache import LocalCache
from cache.s3_fifo import ENTRY_BYTES
from core.messages import Key, Outcome

ROW_BYTES = ENTRY_BYTES + 24  # label, confidence and exit


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _room_for(rows: int) -> int:
    """Bytes for so many answers of one number, and for the memory's own books."""
    return rows * ROW_BYTES + SLOT_BYTES * (rows * ROW_BYTES // ENTRY_BYTES + 2)


def _make_outcome(value: int, size: int = 1) -> Outcome:
    return Outcome({"label": np.full(size, value, dtype=np.int64)}, 0.5, "stage0")


def _make_key(index: int) -> Key:
    return index.to_bytes(16, "big")


def _read(outcome: Outcome | None) -> int | None:
    return None if outcome is None else int(outcome.outputs["label"][0])


def test_what_was_put_is_found_and_the_rest_is_none() -> None:
    memory = LocalCache(10_000)
    memory.put(_make_key(1), _make_outcome(1))
    memory.put(_make_key(2), _make_outcome(2))
    assert [_read(memory.get(_make_key(index))) for index in (2, 3, 1)] == [2, None, 1]


def test_confidence_and_exit_are_kept() -> None:
    memory = LocalCache(10_000)
    memory.put(b"k", Outcome({"label": np.array(3)}, 0.25, "light"))
    found = memory.get(b"k")
    assert found is not None
    assert (found.confidence, found.exit) == (0.25, "light")


def test_what_was_asked_for_again_stays_and_the_oldest_other_one_leaves() -> None:
    memory = LocalCache(_room_for(2))
    for index in (1, 2):
        memory.put(_make_key(index), _make_outcome(index))
    assert _read(memory.get(_make_key(1))) == 1
    memory.put(_make_key(3), _make_outcome(3))
    assert [_read(memory.get(_make_key(index))) for index in (1, 2, 3)] == [1, None, 3]
    assert memory.counts().evictions == 1


def test_an_answer_is_a_miss_from_its_time_to_live_on() -> None:
    clock = Clock()
    memory = LocalCache(10_000, ttl_s=10, clock=clock)
    memory.put(_make_key(1), _make_outcome(1))
    memory.put(_make_key(2), _make_outcome(2), ttl_s=20)
    clock.now_s += 9.9
    assert _read(memory.get(_make_key(1))) == 1
    clock.now_s += 0.1
    assert memory.get(_make_key(1)) is None
    assert _read(memory.get(_make_key(2))) == 2
    counts = memory.counts()
    assert (counts.expirations, counts.hits, counts.misses, counts.entries) == (1, 2, 1, 1)


def test_a_hit_does_not_prolong_a_life() -> None:
    clock = Clock()
    memory = LocalCache(10_000, ttl_s=10, clock=clock)
    memory.put(_make_key(1), _make_outcome(1))
    clock.now_s += 9
    assert memory.get(_make_key(1)) is not None
    clock.now_s += 1
    assert memory.get(_make_key(1)) is None


def test_storing_again_replaces_the_answer_and_its_bytes() -> None:
    memory = LocalCache(10_000)
    empty_bytes = memory.counts().size_bytes
    memory.put(_make_key(1), _make_outcome(1, size=50))
    memory.put(_make_key(1), _make_outcome(2))
    assert _read(memory.get(_make_key(1))) == 2
    assert memory.counts().size_bytes - empty_bytes == ROW_BYTES
    memory.check_invariants()


def test_an_answer_larger_than_the_memory_is_rejected_and_drives_nothing_out() -> None:
    memory = LocalCache(_room_for(1))
    memory.put(_make_key(1), _make_outcome(1))
    memory.put(_make_key(2), _make_outcome(2, size=100))
    assert _read(memory.get(_make_key(1))) == 1
    assert memory.get(_make_key(2)) is None
    assert memory.counts().rejected == 1


def test_a_rejected_answer_leaves_no_older_one_of_its_key() -> None:
    memory = LocalCache(_room_for(1))
    memory.put(_make_key(1), _make_outcome(1))
    memory.put(_make_key(1), _make_outcome(2, size=100))
    assert memory.get(_make_key(1)) is None
    memory.check_invariants()


@pytest.mark.parametrize("writeable", [True, False])
def test_a_view_of_a_batch_is_copied_and_nobody_can_write_what_is_kept(writeable: bool) -> None:
    memory = LocalCache(10_000)
    batch = np.arange(1000, dtype=np.float32).reshape(100, 10)
    row = batch[3]
    row.setflags(write=writeable)
    memory.put(_make_key(1), Outcome({"probabilities": row}, 0.5, "stage0"))
    batch[:] = 0
    found = memory.get(_make_key(1))
    assert found is not None
    kept = found.outputs["probabilities"]
    assert kept.tolist() == list(range(30, 40))
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1
    memory.check_invariants()


@pytest.mark.parametrize("limit_bytes", [0, -1])
def test_a_memory_without_room_is_refused(limit_bytes: int) -> None:
    with pytest.raises(ValueError, match="limit_bytes"):
        LocalCache(limit_bytes)


def test_a_scan_of_ten_times_the_memory_leaves_what_is_asked_for_again() -> None:
    memory = LocalCache(_room_for(100))
    loved = [_make_key(index) for index in range(50)]
    for key in loved:
        memory.put(key, _make_outcome(1))
    for index in range(1000, 2000):
        if index % 100 == 0:
            assert all(memory.get(key) is not None for key in loved)
        memory.put(_make_key(index), _make_outcome(2))
    assert all(memory.get(key) is not None for key in loved)
    memory.check_invariants()


def test_who_returns_soon_after_leaving_outlives_a_scan() -> None:
    memory = LocalCache(_room_for(100))
    memory.put(_make_key(0), _make_outcome(7))
    for index in range(1000, 1100):
        memory.put(_make_key(index), _make_outcome(2))
    assert memory.get(_make_key(0)) is None  # it waited in the small queue, and nobody asked
    memory.put(_make_key(0), _make_outcome(7))
    for index in range(2000, 2089):
        memory.put(_make_key(index), _make_outcome(2))
    assert _read(memory.get(_make_key(0))) == 7


def test_what_grew_old_and_is_computed_again_gives_its_first_life_and_bytes_away() -> None:
    clock = Clock()
    memory = LocalCache(_room_for(4), ttl_s=10, clock=clock)
    memory.put(_make_key(1), _make_outcome(1, size=100))
    clock.now_s += 10
    assert memory.get(_make_key(1)) is None
    assert memory.get(_make_key(1)) is None
    counts = memory.counts()
    assert (counts.entries, counts.expirations, counts.misses) == (0, 1, 2)
    memory.check_invariants()
    memory.put(_make_key(1), _make_outcome(2))
    assert _read(memory.get(_make_key(1))) == 2
    assert memory.counts().entries == 1
    memory.check_invariants()


def test_an_answer_that_grows_may_drive_out_all_others_and_itself_stays() -> None:
    memory = LocalCache(_room_for(4))
    for index in range(4):
        memory.put(_make_key(index), _make_outcome(index))
    memory.put(_make_key(0), _make_outcome(9, size=1 + 3 * ROW_BYTES // 8))
    assert _read(memory.get(_make_key(0))) == 9
    assert memory.counts().entries == 1
    memory.check_invariants()


def test_what_is_kept_takes_no_more_bytes_than_are_counted() -> None:
    asked = np.random.default_rng(0).zipf(1.1, 20_000).tolist()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        memory = LocalCache(2**21)
        for index in asked:
            key = _make_key(index % 2**64)
            if memory.get(key) is None:
                outputs = {"label": np.full(1, index % 10, np.int64)}
                memory.put(key, Outcome(outputs, index / 7, "stage0"))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert memory.counts().evictions > 1000
    assert taken <= memory.counts().size_bytes <= 2**21


class MemoryMachine(RuleBasedStateMachine):
    """Any sequence of uses against a dictionary that forgets nothing but what is too old."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.memory = LocalCache(_room_for(4), ttl_s=5, clock=self.clock)
        self.written: dict[int, tuple[int, float]] = {}
        self.gets = self.puts = 0

    @rule(index=st.integers(0, 7), value=st.integers(0, 99), size=st.integers(1, 400))
    def put(self, index: int, value: int, size: int) -> None:
        self.memory.put(_make_key(index), _make_outcome(value, size))
        self.written[index] = (value, self.clock.now_s + 5)
        self.puts += 1

    @rule(index=st.integers(0, 7))
    def get(self, index: int) -> None:
        found = _read(self.memory.get(_make_key(index)))
        self.gets += 1
        if found is not None:
            value, expires_at = self.written[index]
            assert found == value
            assert self.clock.now_s < expires_at

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        self.clock.now_s += seconds

    @invariant()
    def holds(self) -> None:
        self.memory.check_invariants()
        counts = self.memory.counts()
        assert counts.hits + counts.misses == self.gets
        assert counts.stores + counts.rejected == self.puts


MemoryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_any_sequence_of_uses_keeps_the_books = MemoryMachine.TestCase


def test_text_counts_with_its_bytes() -> None:
    memory = LocalCache(1_000_000)
    for index in range(20):
        text = np.array([b"x" * 200_000], dtype=object)
        memory.put(_make_key(index), Outcome({"text": text}, 0.5, "stage0"))
    memory.check_invariants()
    assert memory.counts().entries == 4
