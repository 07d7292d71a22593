"""Processes that share a Redis keep what one big cache keeps, on a stream that fits."""

import numpy as np

from benchmarks.caching.sharing import measure


def test_two_processes_find_what_one_cache_would() -> None:
    rng = np.random.default_rng(8)
    ranks = (rng.pareto(1.0, (300, 8)) * 4).astype(np.int64)
    trace = [np.unique(row) for row in ranks]
    found = measure(trace, processes=2)
    assert found.requests == 300
    assert found.blocks == sum(map(len, trace))
    assert 0 < found.one_cache < 1
    assert 0 < found.shared < 1
