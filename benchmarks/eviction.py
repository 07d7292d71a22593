"""`python -m benchmarks.eviction`: which entries a full cache should drop.

Hit rates of policies and of two bounds, without a server: a Zipf(1.0) stream of a million
requests over 100,000 pictures with room for 10,000 answers, from several seeds, and the block ids
of the Mooncake traces (arXiv 2407.00079) in `$SPARING_DATA/traces/` in the order they were asked,
with room for one in a hundred and one in ten of the different ones. It is part of the report
on the cache.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.caching import policies
from benchmarks.caching.mooncake import TRACES, read_trace
from benchmarks.caching.policies import Policy, Stream
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Target, difference
from harness.results import Results, Sample

MEMORY, BELADY, BLIND = "memory", "Belady's optimum", "best without foresight"
ZIPF = "Zipf"
PICTURES, ROOM, REQUESTS = 100_000, 10_000, 1_000_000
QUICK = 20  # times fewer of each
TRACE_SHARES = (1, 10)  # room, in per cent of what is asked for
KNOWING: dict[str, Policy] = {BLIND: policies.blind}  # how popular keys are, on Zipf only
POLICIES: dict[str, Policy] = {
    MEMORY: policies.ours,
    "S3-FIFO": policies.s3_fifo,
    "LRU": policies.lru,
    "SIEVE": policies.sieve,
    "W-TinyLFU": policies.tiny_lfu,
    "LFU that forgets nothing": policies.lfu,
    BELADY: policies.belady,
}
COLUMNS = plain({
    "hit_rate": "hit rate",
    "requests": "requests",
    "different": "different ones",
    "room": "room for answers",
})  # fmt: skip
TARGETS = tuple(
    Target(f"Hit rate on the Zipf stream below {words}",
           difference(f"{bound} @ {ZIPF}", f"{MEMORY} @ {ZIPF}", "hit_rate", 100), 3,
           unit="points", digits=2)
    for bound, words in ((BELADY, "Belady's, which knows the future"),
                         (BLIND, "the best without foresight"))
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """Hit rates of every policy and bound, a panel a workload."""
    pairs = [case.split(" @ ") for case in results.cases()]
    panels: list[Panel] = []
    for load in dict.fromkeys(load for _, load in pairs):
        names = [name for name, where in pairs if where == load]
        rates = [100 * results.median(f"{name} @ {load}", "hit_rate") for name in names]
        others = [name for name in names if name != MEMORY]
        panels.append(Bars(f"{load}: hit rate, %", names, {"hit rate": rates}, 1, others))
    return panels


REPORT = Report("eviction", "cache", "Which entries a full cache drops", TARGETS, draw,
                [Table(COLUMNS)])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """The keys asked for, and how many answers the cache has room for."""

    name: str
    keys: Stream
    room: int


def measure_policies(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    scale = QUICK if options.quick else 1
    yield from measure(list(read_traces()), options.runs, scale, console)


def measure(traces: list[Workload], runs: int, scale: int, console: Console) -> Iterator[Sample]:
    """Every policy on every seed of the Zipf stream and once on every trace."""
    jobs = [
        (run, load, name, policy)
        for run in range(runs)
        for load in [make_zipf(run, scale), *(traces if run == 0 else [])]
        for name, policy in (POLICIES | (KNOWING if load.name == ZIPF else {})).items()
    ]
    for run, load, name, policy in track(jobs, "policies", console=console):
        hits = policy(load.keys, load.room)
        case = f"{name} @ {load.name}"
        console.print(f"run {run + 1}/{runs} {case:45} {hits / len(load.keys):.2%}")
        yield Sample(case, run, "hit_rate", hits / len(load.keys))
        yield Sample(case, run, "requests", len(load.keys))
        yield Sample(case, run, "different", len(np.unique(load.keys)))
        yield Sample(case, run, "room", load.room)


def make_zipf(seed: int, scale: int = 1) -> Workload:
    """Independent requests; the picture of rank r, counted from 0, has a share like 1 / (r + 1)."""
    shares = 1 / np.arange(1, PICTURES // scale + 1)
    keys = np.random.default_rng(seed).choice(
        len(shares), REQUESTS // scale, p=shares / shares.sum()
    )
    return Workload(ZIPF, keys, ROOM // scale)


def read_traces() -> Iterator[Workload]:
    """Raises FileNotFoundError with a sentence where the data is not there."""
    for name in TRACES:
        keys = np.concatenate(read_trace(name))
        different = len(np.unique(keys))
        for share in TRACE_SHARES:
            yield Workload(f"{name}, {share} %", keys, different * share // 100)


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__), measure_policies, REPORT, runs=1)
