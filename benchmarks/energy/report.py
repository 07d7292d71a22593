"""The energy ledger: targets and plots."""

from collections.abc import Callable

import numpy as np

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, difference, ratio
from harness.results import Results

SOURCES = ("none", "rapl", "nvml", "ina3221", "pmic", "model")  # as numbers in the samples
LARGE, DUAL, MEMORY = "CIFAR-10, large", "CIFAR-10, dual", "CIFAR-10, dual + memory, each twice"
GREY_LARGE, GREY_DUAL, EXITS = (
    f"Fashion-MNIST, {name}" for name in ("large", "dual", "early exits")
)
COMPARED = {DUAL: LARGE, MEMORY: LARGE, GREY_DUAL: GREY_LARGE, EXITS: GREY_LARGE}
METRICS = {"mj": "idle aside", "mj_with_idle": "idle included"}
CASES = ("mixed load", "kill and restart", "busy neighbour", "two routes", "meter off", "meter on",
         LARGE, DUAL, MEMORY, GREY_LARGE, GREY_DUAL, EXITS)  # fmt: skip
COLUMNS = plain({
    "accounts_of_meter": "accounts / meter",
    "meter_of_truth": "meter / truth",
    "accounts_of_truth": "accounts / truth",
    "rows_of_account": "rows / their account",
    "billed_of_neighbour": "billed of the neighbour's",
    "cascade_share_of_right": "cascade's share / right one",
    "large_share_of_right": "large model's share / right one",
    "idle_cpu_percent": "CPU when idle, %",
    "cpu_us": "CPU µs",
    "mj": "mJ/picture",
    "mj_with_idle": "mJ/picture with idle",
    "rows": "pictures",
})  # fmt: skip


def _one(find: Callable[[Results], float]) -> Figure:
    """A single figure in per cent, either way."""
    return lambda results: np.array([100 * abs(find(results))])


def _off(case: str, *metrics: str) -> Figure:
    """How far from 1, the worst of them."""
    return _one(lambda r: max(abs(r.median(case, metric) - 1) for metric in metrics))


TARGETS = (
    Target("Four accounts off the meter, mixed load", _off("mixed load", "accounts_of_meter"),
           0.1, unit="%", digits=3),
    Target("The meter as it was read, off the truth, mixed load",
           _off("mixed load", "meter_of_truth"), 0.5, unit="%", digits=3),
    Target("The accounts across a kill and restart, off the truth",
           _off("kill and restart", "accounts_of_truth"), 1, unit="%", digits=2),
    Target("A busy neighbour's joules that are billed to requests",
           _one(lambda r: r.median("busy neighbour", "billed_of_neighbour")), 3, unit="%",
           digits=2),
    Target("A route's share of two that run together, off what it takes alone",
           _off("two routes", "cascade_share_of_right", "large_share_of_right"), 5, unit="%",
           digits=2),
    Target("Sampler and ledger, an idle server",
           difference("meter on", "meter off", "idle_cpu_percent"), 1, unit="% of a core",
           digits=2),
    *(
        Target(f"Energy a picture of the large model's, {words}: {case}",
               ratio(case, large, metric, 100), 25, unit="%")
        for case, large in COMPARED.items()
        for metric, words in METRICS.items()
    ),
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """Where the joules of the mixed load went, and what a picture takes."""
    accounts = ("rows", "overhead", "others", "idle")
    cases = CASES[-6:]
    source = SOURCES[int(results.median(LARGE, "source"))]
    return [
        Bars("accounts of the joules under mixed load, %", accounts, {
            "share": [100 * results.median("mixed load", f"{name}_share") for name in accounts]
        }),
        Bars(f"mJ a picture, by the meter `{source}`", cases, {
            words: [results.median(case, metric) for case in cases]
            for metric, words in reversed(METRICS.items())
        }, 1),
    ]  # fmt: skip


TABLE = Table(COLUMNS, cases={case: case for case in CASES})
REPORT = Report("energy", "energy", "Is the energy ledger right?", TARGETS, draw, [TABLE])
