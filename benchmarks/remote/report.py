"""The second cache tier: targets and plots."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, difference, value
from harness.results import Results

KEYS = {"hit": "looking up what is there", "miss": "what is not", "store": "storing"}
SECOND, BIG, ALONE = "second process", "one big memory", "second process alone"
TRACES = ("conversation", "synthetic")
HEALED = ("killed", "paused", "slow, 50 ms", "full")  # the others end by themselves under load
TIMEOUT_MS = 10.0  # the setting's default
COLUMNS = plain({
    "cpu_us": "CPU µs/key",
    "redis_cpu_us": "CPU µs/key of Redis",
    "hit_rate": "hit rate",
    "keys": "keys",
    "plain_p99_ms": "p99 ms, no second tier",
    "well_p99_ms": "p99 ms, Redis well",
    "p99_ms": "p99 ms, fault",
    "slowest_ms": "slowest ms, fault",
    "counted": "keys counted as errors",
    "recovery_s": "s until used again",
})  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    faults = list_faults(results)
    return [
        *(
            Target(f"CPU a key in batches of 64, {words}", value(case, "cpu_us"), 20, unit="µs")
            for case, words in KEYS.items()
        ),
        *(
            Target(f"Hit rate of the second process below one big cache's, {trace}",
                   difference(f"{BIG} @ {trace}", f"{SECOND} @ {trace}", "hit_rate", 100), 2,
                   unit="points", digits=2)
            for trace in TRACES
        ),
        *(
            Target(f"Redis {fault}: added p99", _add(fault), TIMEOUT_MS, unit="ms")
            for fault in faults
        ),
        Target("Wrong answers, all faults", _reduce(sum, faults, "wrong"), 0, digits=0),
        Target("Errors, all faults", _reduce(sum, faults, "errors"), 0, digits=0),
        Target("Keys counted as errors, the least of any fault", _reduce(min, faults, "counted"),
               at_least=1, digits=0),
        Target("Used again after healing, the slowest of any fault",
               _reduce(max, HEALED, "recovery_s"), 3, unit="s"),
    ]  # fmt: skip


def _add(fault: str) -> Figure:
    with_fault, without = value(fault, "p99_ms"), value(fault, "plain_p99_ms")
    return lambda results: with_fault(results) - without(results)


def _reduce(function: Callable[[list[float]], float], faults: Sequence[str], metric: str) -> Figure:
    """What has to hold in every run of every fault."""
    return lambda results: np.array(
        [function([one for fault in faults for one in results.values(fault, metric)])]
    )


def list_faults(results: Results) -> list[str]:
    measured = [sample.case for sample in results.samples if sample.metric == "p99_ms"]
    return list(dict.fromkeys(measured))


def draw(results: Results) -> list[Panel]:
    """What a key costs, what the second process finds, and p99 with each fault."""
    faults = list_faults(results)
    return [
        Bars("CPU a key in batches of 64, µs", [*KEYS], {
            words: [results.median(case, metric) for case in KEYS]
            for metric, words in (("redis_cpu_us", "Redis"), ("cpu_us", "Sparing"))
        }, 1),
        Bars("hit rate of the second process, %", TRACES, {
            words: [100 * results.median(f"{system} @ {trace}", "hit_rate") for trace in TRACES]
            for system, words in ((ALONE, "alone"), (SECOND, "shared Redis"), (BIG, BIG))
        }, 1),
        Bars("p99 under load, ms", faults, {
            words: [results.median(fault, metric) for fault in faults]
            for metric, words in (("plain_p99_ms", "no second tier"), ("p99_ms", "with the fault"))
        }, 1),
    ]  # fmt: skip


REPORT = Report("remote", "cache", "What processes share", list_targets, draw, [Table(COLUMNS)])
