"""`python -m benchmarks.similar`: what answers shared between pictures that look alike are worth.

Every test picture once, and a near-duplicate of each, shuffled, asked in batches: how many are hits
and how many hits give another label than the route computes for that picture. By kind of
near-duplicate, for the tier as shipped, for the same with a part left out, and for the dual-CNN
paper's dictionary of dHashes. Then how many hits the audit needs to find a tier that is wrong. No
server: the tier's own object, and the shipped cascade's answers computed beforehand.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.near_duplicates import KINDS, make_kind, make_mixed
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, Sample, write_results
from benchmarks.similar_audits import measure_audits
from benchmarks.similar_tiers import Stream, ask_paper, ask_tier, compute, mix, open_tier
from benchmarks.stage_time import open_route
from benchmarks.traffic import Pictures
from core.errors import SparingError
from routes.loading import LoadedRoute
from training.data.sets import load_data

ROUTE = "fashion-mnist"
MIXED = "all kinds"
QUICK_PICTURES = 600


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a stream."""

    hits: int
    wrong: int  # hits whose label is not the one computed for that picture
    seconds: float  # CPU time of asking


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run of 600, into runs/bench/")
    options = parser.parse_args()
    try:
        pictures = load_data(ROUTE).test.pictures
        route = open_route(options.models, ROUTE)
    except (ValueError, FileNotFoundError, SparingError) as error:
        sys.exit(str(error))
    runs = 1 if options.quick else options.runs
    if options.quick:
        pictures = pictures[:QUICK_PICTURES]
    samples = [*measure_sharing(route, pictures, runs), *measure_audits(route, pictures, runs)]
    command = "python -m benchmarks.similar " + ("--quick" if options.quick else f"--runs {runs}")
    path = write_results("similar", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("similar", path, QUICK_FOLDER if options.quick else DOCS))


def measure_sharing(route: LoadedRoute, pictures: Pictures, runs: int) -> Iterator[Sample]:
    """Every tier on every kind of near-duplicates, with other ones in every run."""
    console = Console(stderr=True)
    computed = compute(route, pictures)
    cells = [(run, kind) for run in range(runs) for kind in (MIXED, *KINDS)]
    for run, kind in track(cells, "near-duplicates", console=console):
        twins = make_mixed(pictures, run) if kind == MIXED else make_kind(kind, pictures, run)
        stream = mix(computed, compute(route, twins), run)
        for name, ask in TIERS.items():
            found = _count(ask, route, stream)
            yield from _describe(f"{name} @ {kind}", run, found, len(stream.pictures))
            console.print(
                f"run {run + 1}/{runs} {name:21} {kind:29}{found.hits:6} hits{found.wrong:6} wrong",
                soft_wrap=True,
            )


def _count(ask: Ask, route: LoadedRoute, stream: Stream) -> Counts:
    started = time.thread_time()
    hits, wrong = ask(route, stream)
    return Counts(hits, wrong, time.thread_time() - started)


def _describe(case: str, run: int, found: Counts, requests: int) -> Sequence[Sample]:
    facts = {
        "requests": requests,
        "hits": found.hits,
        "wrong": found.wrong,
        "wrong_percent": 100 * found.wrong / found.hits if found.hits else 0.0,
        "ask_us": found.seconds / requests * 1e6,
    }
    return [Sample(case, run, metric, value) for metric, value in facts.items()]


if __name__ == "__main__":
    main()
