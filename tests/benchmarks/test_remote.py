"""The second tier's measurements measure what they say, and targets are judged by the samples."""

import re

import numpy as np
import pytest
from rich.console import Console

from benchmarks.caching.faults import FAULTS, measure_faults
from benchmarks.caching.mooncake import TRACES
from benchmarks.caching.pair import ask_pair, count_hits, measure_pair
from benchmarks.caching.policies import ANSWER_BYTES
from benchmarks.remote import ALONE, BIG, KEYS, REPORT, SECOND, measure_keys
from cache.local_cache import LocalCache
from harness.live_server import ROOT
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
    hits = count_hits(make_requests("ab", "bc", "abc"), LocalCache(100 * ANSWER_BYTES))
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


@pytest.mark.slow
def test_every_fault_is_caused_counted_and_healed() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    samples = list(measure_faults(ROOT / "models", pictures, 1, QUIET, quick=True))
    found = {(sample.case, sample.metric): sample.value for sample in samples}
    for fault in FAULTS:
        assert found[fault, "wrong"] == found[fault, "errors"] == 0
        assert found[fault, "counted"] > 0, fault
        assert found[fault, "requests"] >= 500


def measured(**changes: float) -> Results:
    cpu_us = changes.pop("cpu_us", 12.0)
    rates = {SECOND: 0.30, BIG: 0.31, ALONE: 0.10}
    faults = {"plain_p99_ms": 15.0, "p99_ms": 20.0, "slowest_ms": 30.0, "well_p99_ms": 3.0,
              "counted": 9.0, "wrong": 0.0, "errors": 0.0,
              "requests": 900.0} | changes  # fmt: skip
    table = {key: {"cpu_us": cpu_us, "redis_cpu_us": 3.0} for key in KEYS}
    table |= {f"{system} @ {trace}": {"hit_rate": rate, "keys": 9.0}
              for system, rate in rates.items() for trace in TRACES}  # fmt: skip
    table |= dict.fromkeys(FAULTS, faults)
    return Results({}, [
        Sample(case, run, metric, value)
        for case, metrics in table.items() for metric, value in metrics.items() for run in range(2)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"cpu_us": 20.1}, "CPU a key"),
        ({"p99_ms": 25.1}, "added p99"),
        ({"wrong": 1.0}, "Wrong answers"),
        ({"errors": 1.0}, "Errors"),
        ({"counted": 0.0}, "Keys counted"),
    ],
)
def test_a_number_past_its_limit_is_a_miss(change: dict[str, float], missed: str) -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    rows = [row.what for row in REPORT.judge(measured(**change)) if not row.met]
    assert rows and all(re.search(missed, what) for what in rows)
