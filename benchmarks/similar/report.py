"""Answers shared between similar pictures: targets and plots.

Wrong hits are rare, so they are counted over all runs together.
"""

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target
from harness.results import Results

SHIPPED, MIXED = "as shipped", "all kinds"
PLOTTED = (SHIPPED, "twice the difference", "without verification", "the paper's dHash")
MOST_HITS = 2000
ENOUGH_HITS = 1000  # of a kind, to speak of a thousandth of them
COLUMNS = plain({
    "requests": "requests",
    "hits": "hits",
    "wrong": "wrong hits",
    "wrong_percent": "wrong, % of hits",
    "ask_us": "CPU µs/picture",
    "found_percent": "switched off, % of seeds",
    "hits_to_find": "hits until off",
    "slowest_hits": "hits until off, slowest",
    "seeds": "seeds a run",
})  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    kinds = list_kinds(results)
    judged = [kind for kind in kinds if add(results, SHIPPED, [kind], "hits") >= ENOUGH_HITS]
    worst = max(judged or kinds, key=lambda kind: find_wrong_percent(results, SHIPPED, [kind]))
    return [
        Target("Wrong-label hits, near-duplicates of all kinds", _wrong(kinds), 0.1, unit="%",
               digits=3),
        Target(f"Wrong-label hits of the worst kind, {worst}", _wrong([worst]), 0.1, unit="%",
               digits=3),
        *(
            Target(f"Hits until the audit found a sketch that is {case}, slowest seed",
                   _slowest(case), MOST_HITS, unit="hits", digits=0)
            for case in results.cases() if case.startswith("broken")
        ),
        Target("Tiers within the limit that were switched off, of all seeds",
               lambda r: np.array([np.mean(r.values("within the limit", "found_percent"))]), 1,
               unit="%", digits=2),
    ]  # fmt: skip


def _slowest(case: str) -> Figure:
    return lambda results: np.array([max(results.values(case, "slowest_hits"))])


def _wrong(kinds: list[str]) -> Figure:
    return lambda results: np.array([find_wrong_percent(results, SHIPPED, kinds)])


def list_kinds(results: Results) -> list[str]:
    """The kinds of near-duplicates, in order, without their mixture."""
    cases = [case for case in results.cases() if case.startswith(f"{SHIPPED} @ ")]
    kinds = [case.partition(" @ ")[2] for case in cases]
    return [kind for kind in kinds if kind != MIXED]


def add(results: Results, tier: str, kinds: list[str], metric: str) -> float:
    """Over kinds and runs."""
    return sum(sum(results.values(f"{tier} @ {kind}", metric)) for kind in kinds)


def find_wrong_percent(results: Results, tier: str, kinds: list[str]) -> float:
    hits = add(results, tier, kinds, "hits")
    return 100 * add(results, tier, kinds, "wrong") / hits if hits else 0.0


def draw(results: Results) -> list[Panel]:
    """Hits by kind, half of the requests being near-duplicates; and how soon the audit finds a
    wrong rate.
    """
    kinds = list_kinds(results)
    cases = [case for case in results.cases() if case.startswith("wrong in ")]
    found: dict[str, list[tuple[float, float]]] = {}
    for metric, label in (("hits_to_find", "median"), ("slowest_hits", "slowest")):
        over_runs = np.median if metric == "hits_to_find" else max
        points = [(results.median(case, "wrong_percent"),
                   float(over_runs(results.values(case, metric)))) for case in cases]  # fmt: skip
        found[label] = [(rate, hits) for rate, hits in points if math.isfinite(hits)]
    return [
        Bars("hits, % of the near-duplicates", kinds, {
            tier: [200 * add(results, tier, [kind], "hits") / add(results, tier, [kind], "requests")
                   for kind in kinds]
            for tier in PLOTTED
        }, 1),
        Curves("hits until the audit switches off", "hits that are wrong, %", "hits",
               {label: points for label, points in found.items() if points}, log="xy"),
    ]  # fmt: skip


REPORT = Report("similar", "similar", "What answers shared between similar pictures save",
                list_targets, draw, [Table(COLUMNS)], fault_metrics=())  # fmt: skip
