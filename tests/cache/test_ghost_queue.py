"""Ghosts: remembered for as many departures as asked about, in a table that never grows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.ghost_queue import SLOT_BYTES, GhostQueue
from core.messages import Key

SLOTS = 2**20  # so many that a few keys hardly ever share both their slots


def list_keys(count: int) -> list[Key]:
    return [index.to_bytes(16, "big") for index in range(count)]


def test_nobody_is_known_before_the_first_leaves() -> None:
    assert not any(GhostQueue(SLOTS).contains(key, SLOTS) for key in list_keys(50))


@settings(deadline=None)
@given(departures=st.lists(st.integers(0, 19), max_size=60), window=st.integers(0, 30))
def test_the_last_departures_are_known_and_no_others(departures: list[int], window: int) -> None:
    keys = list_keys(20)
    ghosts = GhostQueue(SLOTS)
    for index in departures:
        ghosts.add(keys[index])
    known = {index for index in range(20) if ghosts.contains(keys[index], window)}
    assert known == set(departures[max(0, len(departures) - window) :])


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_a_full_table_forgets_older_ones_and_knows_the_last(slots: int) -> None:
    ghosts = GhostQueue(slots)
    keys = list_keys(100)
    for key in keys:
        ghosts.add(key)
        assert ghosts.contains(key, slots)
    assert sum(ghosts.contains(key, 100) for key in keys) <= slots


def test_most_of_as_many_departures_as_three_quarters_of_the_slots_are_known() -> None:
    ghosts = GhostQueue(4000)
    keys = list_keys(9000)
    for key in keys:
        ghosts.add(key)
    last = keys[-3000:]
    assert sum(ghosts.contains(key, 3000) for key in last) > 0.7 * len(last)
    assert sum(ghosts.contains(key, 3000) for key in keys[:-3000]) < 0.001 * len(keys)


def test_a_slot_takes_the_bytes_that_are_counted_for_it() -> None:
    assert np.dtype(np.uint64).itemsize == SLOT_BYTES
