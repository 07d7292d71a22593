"""The policies do what they are named for, and targets are judged by the samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.caching.policies import (
    ANSWER,
    Stream,
    belady,
    blind,
    find_limit_bytes,
    lru,
    sieve,
)
from benchmarks.eviction import BLIND, POLICIES, REPORT, ZIPF, make_zipf
from cache.local_cache import LocalCache
from harness.results import Results, Sample

STREAMS = st.lists(st.integers(0, 6), min_size=1, max_size=24).map(np.array)


def find_optimum(keys: list[int], room: int) -> int:
    """The most hits that any way of keeping and dropping answers can have, by trying all."""
    best = {frozenset[int](): 0}
    for key in keys:
        after: dict[frozenset[int], int] = {}
        for kept, hits in best.items():
            hits += key in kept
            full = kept | {key}
            choices = [full] if len(full) <= room else [full - {gone} for gone in full]
            for choice in choices:
                after[choice] = max(after.get(choice, 0), hits)
        best = after
    return max(best.values())


@settings(deadline=None)
@given(keys=STREAMS, room=st.integers(1, 4))
def test_belady_is_the_optimum(keys: Stream, room: int) -> None:
    assert belady(keys, room) == find_optimum(keys.tolist(), room)


@pytest.mark.parametrize("room", [1, 3, 4, 100, 10_000])
def test_our_cache_gets_room_for_as_many_answers_as_the_others(room: int) -> None:
    memory = LocalCache(find_limit_bytes(room))
    for key in range(2 * room):
        memory.put(key.to_bytes(16, "big"), ANSWER)
    assert memory.counts().entries == room


@pytest.mark.parametrize("name", POLICIES)
@settings(deadline=None, max_examples=50)
@given(keys=STREAMS, room=st.integers(3, 5))
def test_no_policy_has_more_hits_than_belady(name: str, keys: Stream, room: int) -> None:
    assert POLICIES[name](keys, room) <= belady(keys, room)


@pytest.mark.parametrize("name", [*POLICIES, BLIND])
def test_with_room_for_everything_only_first_requests_are_misses(name: str) -> None:
    keys = make_zipf(1, scale=200).keys
    policy = {**POLICIES, BLIND: blind}[name]
    assert policy(keys, 2000) == len(keys) - len(np.unique(keys))


def test_the_least_recently_used_leaves_first() -> None:
    keys = np.array([1, 2, 1, 3, 1, 2])  # 2 leaves for 3
    assert lru(keys, 2) == 2


def test_sieve_passes_over_what_was_asked_for_and_takes_the_next() -> None:
    keys = np.array([1, 2, 3, 1, 4, 1, 3, 2])  # 1 is spared, 2 leaves for 4
    assert sieve(keys, 3) == 3


def test_who_knows_popularities_keeps_the_most_popular_of_those_seen() -> None:
    keys = np.array([5, 3, 4, 3, 5, 0, 4, 3, 0])  # 5 leaves for 4, then 4 for 0
    assert blind(keys, 2) == 3


def test_the_zipf_stream_asks_as_zipf_says_and_anew_for_each_seed() -> None:
    load = make_zipf(1, scale=10)
    counts = np.bincount(load.keys, minlength=10_000)
    assert (len(load.keys), load.room, len(counts)) == (100_000, 1000, 10_000)
    harmonic = np.sum(1 / np.arange(1, 10_001))
    for rank in (1, 2, 10):
        assert counts[rank - 1] == pytest.approx(100_000 / harmonic / rank, rel=0.15)
    assert not np.array_equal(load.keys, make_zipf(2, scale=10).keys)


def collect(
    rates: dict[str, float], loads: tuple[str, ...] = (ZIPF, "conversation, 1 %")
) -> list[Sample]:
    return [
        Sample(f"{name} @ {load}", run, metric, value)
        for load in loads
        for name, rate in rates.items()
        for run in range(2)
        for metric, value in {"hit_rate": rate, "requests": 9, "different": 5, "room": 3}.items()
    ]


RATES = dict.fromkeys(POLICIES, 0.70) | {"memory": 0.78, "Belady's optimum": 0.84, BLIND: 0.80}


def test_verdicts_follow_from_the_samples() -> None:
    def judge(changes: dict[str, float]) -> list[bool | None]:
        return [row.met for row in REPORT.judge(Results({}, collect(RATES | changes)))]

    assert judge({}) == [False, True]
    assert judge({"memory": 0.815}) == [True, True]
    assert judge({"memory": 0.76}) == [False, False]
