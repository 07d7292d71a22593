"""Answers searched by likeness: found where two witnesses agree, bounded, and in good order."""

import gc
import tracemalloc
from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cache.packing import ARRAY_BYTES
from cache.perceptual import Bounds, Sketch, sketch_pictures
from cache.perceptual_cache import BUCKET_BYTES, ENTRY_BYTES, MAX_CANDIDATES, PerceptualCache
from core.messages import Outcome
from tests.fakes.clock import Clock

BOUNDS = Bounds()
ROW_BYTES = ENTRY_BYTES + ARRAY_BYTES + 100 + ARRAY_BYTES + 8


def make_sketch(
    key: int = 0, shade: int = 100, sure: int = 2**64 - 1, shape: tuple[int, ...] = (10, 10)
) -> Sketch:
    signature = np.full((1, 100), shade, np.uint8)
    return Sketch(np.uint64(key), np.uint64(sure), True, float(shade), signature, shape)


def make_outcome(value: int) -> Outcome:
    return Outcome({"label": np.array(value)}, 0.99, "light")


def put(memory: PerceptualCache, value: int, sketch: Sketch, namespace: Hashable = "a") -> None:
    memory.put(namespace, sketch, make_outcome(value), 60.0)
    memory.check_invariants()


def find(
    memory: PerceptualCache, sketch: Sketch, namespace: Hashable = "a", bounds: Bounds = BOUNDS
) -> int | None:
    entry, _ = memory.find(namespace, sketch, bounds)
    memory.check_invariants()
    return None if entry is None else int(entry.outcome.outputs["label"])


def test_a_picture_that_looks_alike_is_answered_and_another_one_is_not() -> None:
    memory = PerceptualCache(1 << 20)
    rng = np.random.default_rng(0)
    pictures = rng.integers(40, 200, (2, 28, 28), dtype=np.uint8)
    noisy = (pictures + rng.integers(-2, 3, pictures.shape)).astype(np.uint8)
    one, other = sketch_pictures(pictures)
    memory.put("a", one, make_outcome(1), 60.0)
    known = [find(memory, sketch) for sketch in (*sketch_pictures(noisy), one, other)]
    assert known == [1, None, 1, None]


def test_only_bits_that_both_are_sure_of_count() -> None:
    memory = PerceptualCache(1 << 20)
    put(memory, 1, make_sketch(0b0000))
    assert find(memory, make_sketch(0b0001)) == 1
    assert find(memory, make_sketch(0b0011)) is None
    assert find(memory, make_sketch(0b0011, sure=2**64 - 2)) == 1
    put(memory, 2, make_sketch(0b0011 << 8, shade=200, sure=2**64 - 1 - (1 << 8)))
    assert find(memory, make_sketch(0b0000, shade=200)) == 2
    assert find(memory, make_sketch(0b0011), bounds=Bounds(distance=2)) == 1
    assert find(memory, make_sketch(0b0001), bounds=Bounds(distance=0)) is None


def test_where_hashes_agree_and_signatures_do_not_the_caller_hears_of_it() -> None:
    memory = PerceptualCache(1 << 20)
    put(memory, 1, make_sketch(shade=100))
    assert memory.find("a", make_sketch(shade=105), BOUNDS) == (None, True)
    assert memory.find("a", make_sketch(key=7, shade=100), BOUNDS) == (None, False)
    assert find(memory, make_sketch(shade=104)) == 1


def test_the_most_alike_of_several_answers() -> None:
    memory = PerceptualCache(1 << 20)
    for value, shade in enumerate((98, 100, 103)):
        put(memory, value, make_sketch(shade=shade))
    assert find(memory, make_sketch(shade=101)) == 1
    assert find(memory, make_sketch(shade=104)) == 2


def test_the_nearest_hashes_are_compared_where_there_are_too_many() -> None:
    memory = PerceptualCache(1 << 24)
    sure = 2**32 - 1  # the upper half of the bits is noise, yet it tells the nearest
    for value in range(3 * MAX_CANDIDATES):
        put(memory, value, make_sketch(key=0b111 << 40, sure=sure))
    put(memory, 99, make_sketch(key=0b1 << 40, sure=sure))
    assert find(memory, make_sketch(key=0, sure=sure)) == 99


def test_namespaces_and_shapes_know_nothing_of_each_other() -> None:
    memory = PerceptualCache(1 << 20)
    put(memory, 1, make_sketch(), namespace=("tenant", ()))
    assert find(memory, make_sketch(), namespace=("other", ())) is None
    assert find(memory, make_sketch(), namespace=("tenant", (("min_confidence", 0.5),))) is None
    assert find(memory, make_sketch(shape=(5, 20)), namespace=("tenant", ())) is None
    assert find(memory, make_sketch(), namespace=("tenant", ())) == 1


def test_an_answer_is_kept_for_its_time_and_no_hit_prolongs_it() -> None:
    clock = Clock()
    memory = PerceptualCache(1 << 20, clock=clock)
    put(memory, 1, make_sketch())
    clock.now_s += 59.9
    assert find(memory, make_sketch()) == 1
    clock.now_s += 0.1
    assert find(memory, make_sketch()) is None
    counts = memory.counts()
    assert (counts.expirations, counts.entries, counts.size_bytes) == (1, 0, 0)


def test_an_old_answer_does_not_stand_before_a_fresh_one() -> None:
    clock = Clock()
    memory = PerceptualCache(1 << 20, clock=clock)
    put(memory, 1, make_sketch(shade=100))
    clock.now_s += 30.0
    put(memory, 2, make_sketch(shade=102))
    clock.now_s += 30.0
    assert find(memory, make_sketch(shade=100)) == 2


def test_the_least_recently_used_leaves_first() -> None:
    memory = PerceptualCache(2 * BUCKET_BYTES + 2 * ROW_BYTES)
    put(memory, 1, make_sketch(shade=50))
    put(memory, 2, make_sketch(shade=100))
    assert find(memory, make_sketch(shade=50)) == 1
    put(memory, 3, make_sketch(shade=150))
    assert [find(memory, make_sketch(shade=shade)) for shade in (50, 100, 150)] == [1, None, 3]
    assert memory.counts().evictions == 1


def test_what_is_larger_than_the_whole_memory_is_rejected_and_evicts_nothing() -> None:
    memory = PerceptualCache(BUCKET_BYTES + ROW_BYTES)
    put(memory, 1, make_sketch())
    memory.put("a", make_sketch(), Outcome({"y": np.zeros(1000)}, 0.9, "light"), 60.0)
    assert find(memory, make_sketch()) == 1
    assert memory.counts().rejected == 1


def test_what_is_forgotten_is_gone_and_forgetting_it_twice_is_no_matter() -> None:
    memory = PerceptualCache(1 << 20)
    put(memory, 1, make_sketch())
    entry, _ = memory.find("a", make_sketch(), BOUNDS)
    assert entry is not None
    for _ in range(2):
        memory.remove(entry)
        memory.check_invariants()
    assert find(memory, make_sketch()) is None
    put(memory, 2, make_sketch())
    memory.remove(entry)
    assert find(memory, make_sketch()) == 2


def test_clearing_leaves_nothing() -> None:
    memory = PerceptualCache(1 << 20)
    for value in range(40):
        put(memory, value, make_sketch(key=value << 8, shade=value))
    memory.clear()
    memory.check_invariants()
    counts = memory.counts()
    assert (counts.entries, counts.size_bytes, counts.stores) == (0, 0, 40)
    put(memory, 1, make_sketch())
    assert find(memory, make_sketch()) == 1


def test_what_is_kept_is_a_copy_that_nobody_can_write() -> None:
    memory = PerceptualCache(1 << 20)
    batch = np.arange(3000)
    sketch = make_sketch()
    memory.put("a", sketch, Outcome({"y": batch[:10]}, 0.9, "light"), 60.0)
    batch[:] = 0
    sketch.signature[:] = 0
    entry, _ = memory.find("a", make_sketch(), BOUNDS)
    assert entry is not None
    assert entry.outcome.outputs["y"].tolist() == list(range(10))
    memory.check_invariants()
    with pytest.raises(ValueError, match="read-only"):
        entry.outcome.outputs["y"][0] = 1


def test_a_memory_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="limit_bytes: 0 given"):
        PerceptualCache(0)


@pytest.mark.parametrize("namespaces", [1, 400])
def test_it_takes_no_more_memory_than_it_counts(namespaces: int) -> None:
    limit_bytes = 2 * 2**20
    pictures = np.random.default_rng(0).integers(0, 256, (4000, 28, 28), dtype=np.uint8)
    memory = PerceptualCache(limit_bytes)
    gc.collect()
    tracemalloc.start()
    for place, picture in enumerate(pictures):
        (sketch,) = sketch_pictures(picture[None])
        outputs = {"label": np.array(place), "probabilities": np.zeros(10, np.float32)}
        memory.put(place % namespaces, sketch, Outcome(outputs, 0.99, "light"), 60.0)
        del sketch, outputs
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory.counts().evictions > 1000
    assert 0.5 * limit_bytes < taken <= memory.counts().size_bytes * 1.02 <= limit_bytes * 1.02


class Books(RuleBasedStateMachine):
    """Against a list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.memory = PerceptualCache(4 * BUCKET_BYTES + 40 * ROW_BYTES, clock=self.clock)
        self.kept: list[tuple[str, Sketch, int, float]] = []  # least recently used first
        self.value = 0

    keys = st.sampled_from([0, 1, 3, 0xFF, 2**63])
    shades = st.integers(0, 30)
    names = st.sampled_from(["a", "b", "c"])

    @rule(key=keys, shade=shades, name=names, ttl_s=st.sampled_from([1.0, 50.0]))
    def put(self, key: int, shade: int, name: str, ttl_s: float) -> None:
        self.value += 1
        sketch = make_sketch(key, 8 * shade)
        self.memory.put(name, sketch, make_outcome(self.value), ttl_s)
        self.kept.append((name, sketch, self.value, self.clock.now_s + ttl_s))
        self.kept = self.kept[len(self.kept) - self.memory.counts().entries :]

    @rule(key=keys, shade=shades, name=names)
    def find(self, key: int, shade: int, name: str) -> None:
        sketch = make_sketch(key, 8 * shade)
        entry, _ = self.memory.find(name, sketch, BOUNDS)
        alike = [
            one
            for one in self.kept
            if one[0] == name
            and int(one[1].key ^ sketch.key).bit_count() <= BOUNDS.distance
            and np.array_equal(one[1].signature, sketch.signature)
            and one[3] > self.clock.now_s
        ]
        assert (entry is None) == (not alike)
        held = self.memory.counts().entries
        if entry is not None:
            used = next(one for one in alike if one[2] == int(entry.outcome.outputs["label"]))
            self.kept = [one for one in self.kept if one is not used]
            self.kept.append(used)
        if held < len(self.kept):  # old ones that were come across
            old = [one for one in self.kept if one[3] <= self.clock.now_s]
            assert held >= len(self.kept) - len(old)
            living = {int(entry.outcome.outputs["label"]) for entry in self.memory._order}
            self.kept = [one for one in self.kept if one[2] in living]

    @precondition(lambda self: self.kept)
    @rule(seconds=st.sampled_from([0.5, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @invariant()
    def the_books_balance(self) -> None:
        self.memory.check_invariants()
        living = [int(entry.outcome.outputs["label"]) for entry in self.memory._order]
        assert living == [one[2] for one in self.kept]


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
