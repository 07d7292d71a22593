"""`python -m benchmarks.similar`: what answers shared between similar pictures save.

Every test picture once, and a near-duplicate of each, shuffled, asked in batches: how many are hits
and how many hits give another label than the route computes for that picture. By kind of
near-duplicate, for the tier as shipped, for the same with a part left out, and for the dual-CNN
paper's dictionary of dHashes. Then how many hits the audit needs to find a tier that is wrong. No
server: the tier's own object, and the shipped cascade's answers computed beforehand.

Wrong hits are rare, so they are counted over all runs together.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.caching.audits import measure_audits
from benchmarks.caching.near_duplicates import KINDS, make_kind, make_mixed
from benchmarks.caching.tiers import Stream, ask_paper, ask_tier, compute, mix, open_tier
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target
from harness.load.traffic import Pictures
from harness.results import Results, Sample
from harness.stage_time import open_route
from routes.loading import LoadedRoute
from training.data.sets import load_data

ROUTE = "fashion-mnist"
QUICK_PICTURES = 600
SHIPPED, MIXED = "as shipped", "all kinds"
PAPER = "the paper's dHash"
VARIANTS: dict[str, dict[str, Any]] = {  # of the tier, by what differs from the shipped settings
    SHIPPED: {},
    "twice the difference": {"max_difference": 8.0},
    "unsure answers too": {"least_confidence": 0.0},
    "without verification": {"max_difference": math.inf},
}
PLOTTED = (SHIPPED, "twice the difference", "without verification", PAPER)
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


def measure_similar(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    pictures = load_data(ROUTE).test.pictures[: QUICK_PICTURES if options.quick else None]
    route = open_route(options.models, ROUTE)
    yield from measure_sharing(route, pictures, options.runs, console)
    yield from measure_audits(route, pictures, options.runs)


def ask(name: str, route: LoadedRoute, stream: Stream) -> tuple[int, int]:
    """Hits and wrong hits of a tier."""
    if name == PAPER:
        return ask_paper(stream)
    return ask_tier(open_tier(route, **VARIANTS[name]), stream)


def measure_sharing(
    route: LoadedRoute, pictures: Pictures, runs: int, console: Console
) -> Iterator[Sample]:
    """Every tier on every kind of near-duplicates, with other ones in every run."""
    computed = compute(route, pictures)
    cells = [(run, kind) for run in range(runs) for kind in (MIXED, *KINDS)]
    for run, kind in track(cells, "near-duplicates", console=console):
        twins = make_mixed(pictures, run) if kind == MIXED else make_kind(kind, pictures, run)
        stream = mix(computed, compute(route, twins), run)
        for name in (*VARIANTS, PAPER):
            started = time.thread_time()
            hits, wrong = ask(name, route, stream)
            seconds, requests = time.thread_time() - started, len(stream.pictures)
            facts = {
                "requests": requests,
                "hits": hits,
                "wrong": wrong,
                "wrong_percent": 100 * wrong / hits if hits else 0.0,
                "ask_us": seconds / requests * 1e6,
            }
            yield from (Sample(f"{name} @ {kind}", run, *fact) for fact in facts.items())
            console.print(
                f"run {run + 1}/{runs} {name:21} {kind:29}{hits:6} hits{wrong:6} wrong",
                soft_wrap=True,
            )


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__, runs=3), measure_similar, REPORT, runs=1)
