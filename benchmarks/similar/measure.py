"""`python -m benchmarks.similar`: what answers shared between similar pictures save.

Every test picture once, and a near-duplicate of each, shuffled, asked in batches: how many are hits
and how many hits give another label than the route computes for that picture. By kind of
near-duplicate, for the tier as shipped, for the same with a part left out, and for the dual-CNN
paper's dictionary of dHashes. Then how many hits the audit needs to find a tier that is wrong. No
server: the tier's own object, and the shipped cascade's answers computed beforehand.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import track

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.similar.audits import measure_audits
from benchmarks.similar.near_duplicates import KINDS, make_kind, make_mixed
from benchmarks.similar.report import MIXED, REPORT
from benchmarks.similar.tiers import Stream, ask_paper, ask_tier, compute, mix, open_tier
from harness.load.traffic import Pictures
from harness.results import Sample
from harness.stage_time import open_route
from routes.loading import LoadedRoute
from training.data.sets import load_data

ROUTE = "fashion-mnist"
QUICK_PICTURES = 600


Ask = Callable[[LoadedRoute, Stream], tuple[int, int]]

TIERS: Mapping[str, Ask] = {
    "as shipped": lambda route, stream: ask_tier(open_tier(route), stream),
    "twice the difference": lambda route, stream: ask_tier(
        open_tier(route, max_difference=8.0), stream
    ),
    "unsure answers too": lambda route, stream: ask_tier(
        open_tier(route, least_confidence=0.0), stream
    ),
    "without verification": lambda route, stream: ask_tier(
        open_tier(route, max_difference=math.inf), stream
    ),
    "the paper's dHash": lambda route, stream: ask_paper(stream),
}


def measure_similar(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    pictures = load_data(ROUTE).test.pictures[: QUICK_PICTURES if options.quick else None]
    route = open_route(options.models, ROUTE)
    yield from measure_sharing(route, pictures, options.runs, console)
    yield from measure_audits(route, pictures, options.runs)


def main() -> None:
    run_benchmark(make_parser(__doc__, runs=3), measure_similar, REPORT, runs=1)


def measure_sharing(
    route: LoadedRoute, pictures: Pictures, runs: int, console: Console
) -> Iterator[Sample]:
    """Every tier on every kind of near-duplicates, with other ones in every run."""
    computed = compute(route, pictures)
    cells = [(run, kind) for run in range(runs) for kind in (MIXED, *KINDS)]
    for run, kind in track(cells, "near-duplicates", console=console):
        twins = make_mixed(pictures, run) if kind == MIXED else make_kind(kind, pictures, run)
        stream = mix(computed, compute(route, twins), run)
        for name, ask in TIERS.items():
            started = time.thread_time()
            hits, wrong = ask(route, stream)
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
