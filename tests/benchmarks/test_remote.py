"""The second tier's measurements measure what they say, and targets are judged by the samples."""

import numpy as np
import pytest
from rich.console import Console

from benchmarks.caching.mooncake import TRACES
from benchmarks.caching.pair import ask_pair, count_hits, measure_pair
from benchmarks.caching.policies import find_limit_bytes
from benchmarks.remote import ALONE, BIG, KEYS, REPORT, SECOND, measure_keys
from cache.local_cache import LocalCache
from harness.results import Results, Sample
from harness.services.redis_server import RedisServer

QUIET = Console(quiet=True)


def make_requests(*requests: str) -> list[list[bytes]]:
    return [[letter.encode() * 16 for letter in request] for request in requests]


def test_a_key_costs_cpu_of_both_processes() -> None:
    samples = list(measure_keys(1, 40, QUIET))
    assert {sample.case for sample in samples} == set(KEYS)
    assert all(0 < s.value < 1000 for s in samples if s.metric == "cpu_us")


def test_one_big_memory_misses_what_it_has_not_seen() -> None:
    hits = count_hits(make_requests("ab", "bc", "abc"), LocalCache(find_limit_bytes(100)))
    assert hits == [0, 1, 3]


def test_the_second_process_finds_what_the_first_one_stored() -> None:
    requests = make_requests("abcd", "e", "f", "abcd", "g", "abcdefg")
    with RedisServer() as redis:
        shared = ask_pair(requests, 1, redis.url, QUIET, "test")  # no room of their own
    assert shared[:5] == [0, 0, 0, 4, 0]
    assert shared[5] in (6, 7)  # "g" may still be on its way


def test_of_three_systems_the_one_alone_finds_least() -> None:
    rng = np.random.default_rng(0)
    requests = [[int(i).to_bytes(16, "big") for i in rng.integers(0, 300, 8)] for _ in range(120)]
    samples = measure_pair({"t": requests}, QUIET)
    rates = {s.case: s.value for s in samples if s.metric == "hit_rate"}
    assert rates[f"{ALONE} @ t"] < rates[f"{SECOND} @ t"] <= rates[f"{BIG} @ t"]
    assert rates[f"{SECOND} @ t"] == pytest.approx(rates[f"{BIG} @ t"], abs=0.05)


def measured(cpu_us: float = 12.0) -> Results:
    rates = {SECOND: 0.30, BIG: 0.31, ALONE: 0.10}
    table = {key: {"cpu_us": cpu_us, "redis_cpu_us": 3.0} for key in KEYS}
    table |= {f"{system} @ {trace}": {"hit_rate": rate, "keys": 9.0}
              for system, rate in rates.items() for trace in TRACES}  # fmt: skip
    return Results({}, [
        Sample(case, run, metric, value)
        for case, metrics in table.items() for metric, value in metrics.items() for run in range(2)
    ])  # fmt: skip


def test_a_number_past_its_limit_is_a_miss() -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    rows = [row for row in REPORT.judge(measured(cpu_us=20.1)) if not row.met]
    assert [row.what.startswith("CPU a key") for row in rows] == [True] * len(KEYS)
