"""How many hits the audit needs: broken sketches on real pictures, wrong rates by simulation.

A sketch is broken deliberately, the tier is otherwise as shipped; every seed has
its own draws, near-duplicates and order. The simulated tiers are wrong at a fixed rate and share
the shipped audit's settings; one of them is just within the limit, and should not be found.
"""

import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.caching.near_duplicates import make_kind
from benchmarks.caching.tiers import Stream, ask_tier, compute, mix, open_tier
from cache.audit import Audit
from cache.perceptual import Sketch, sketch_pictures
from harness.load.traffic import Pictures
from harness.results import Sample
from routes.loading import LoadedRoute
from serving.settings import PerceptualRouteSettings

SEEDS = 8  # of each run
KIND = "noise of 2 levels"
RATES = (0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.2, 0.9)
MOST_HITS = 100_000
QUIET_HITS = 20_000
QUIET_SEEDS = 300  # of each run


def _blind_witness(pictures: Pictures) -> Sequence[Sketch]:
    """The hash is right, but what should verify it agrees to everything."""
    nothing = np.zeros((1, 1), np.uint8)
    return [one._replace(signature=nothing, level=0.0) for one in sketch_pictures(pictures)]


def _four_blocks(pictures: Pictures) -> Sequence[Sketch]:
    """Sees no more than the mean of each quarter."""
    count, side = len(pictures), pictures.shape[1] // 2
    means = pictures.reshape(count, 2, side, 2, side).mean(axis=(2, 4)).astype(np.uint8)
    return sketch_pictures(means.repeat(side, axis=1).repeat(side, axis=2))


_ONE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
BROKEN: Mapping[str, Callable[[Pictures], Sequence[Sketch]]] = {
    "one sketch for all": lambda some: sketch_pictures(np.broadcast_to(_ONE, some.shape)),
    "rows of a batch mixed up": lambda some: sketch_pictures(np.roll(some, 1, axis=0)),
    "witness agrees to everything": _blind_witness,
    "pictures scaled down to eight levels": lambda some: sketch_pictures(some // 32),
    "sees four blocks": _four_blocks,
}


def measure_audits(route: LoadedRoute, pictures: Pictures, runs: int) -> Iterator[Sample]:
    """Hits until off: the median and the slowest of a run's seeds, and which share was found."""
    logging.getLogger("sparing.cache.perceptual").setLevel(logging.CRITICAL)  # it says so each time
    computed = compute(route, pictures)
    for run in range(runs):
        streams = [
            (seed, mix(computed, compute(route, make_kind(KIND, pictures, seed)), seed))
            for seed in range(run * SEEDS, (run + 1) * SEEDS)
        ]
        for name, sketch in BROKEN.items():
            found = [find_broken(route, sketch, seed, stream) for seed, stream in streams]
            yield from _describe(f"broken: {name}", run, *zip(*found, strict=True))
        yield from _simulate(run)


def find_broken(
    route: LoadedRoute, sketch: Callable[[Pictures], Sequence[Sketch]], seed: int, stream: Stream
) -> tuple[float, float]:
    """Hits until the audit switched it off (infinite: never), and how many in 100 were wrong."""
    tier = open_tier(route, sketch, audits={"audit_seed": seed})
    hits, wrong = ask_tier(tier, stream)
    return math.inf if tier.on else hits, 100 * wrong / hits if hits else math.nan


def _simulate(run: int) -> Iterator[Sample]:
    limit = PerceptualRouteSettings().max_wrong
    for rate in RATES:
        seeds = range(run * SEEDS, (run + 1) * SEEDS)
        hits = [find_rate(rate, seed, MOST_HITS) for seed in seeds]
        yield from _describe(f"wrong in {rate:.1%} of hits", run, hits, [100 * rate] * SEEDS)
    seeds = range(run * QUIET_SEEDS, (run + 1) * QUIET_SEEDS)
    off = sum(find_rate(limit, seed, QUIET_HITS) < math.inf for seed in seeds)
    yield Sample("within the limit", run, "found_percent", 100 * off / QUIET_SEEDS)
    yield Sample("within the limit", run, "wrong_percent", 100 * limit)


def find_rate(rate: float, seed: int, most: int) -> float:
    """Hits until a tier that is wrong at this rate was switched off; infinite: not within most."""
    settings = PerceptualRouteSettings()
    audit = Audit(
        rate=settings.audit_rate,
        burn_in=settings.audit_burn_in,
        seed=seed,
        max_wrong=settings.max_wrong,
        delta=settings.delta,
    )
    chance = random.Random(f"wrong or not {seed}")
    for hit in range(1, most + 1):
        if audit.draw() and audit.record(wrong=chance.random() < rate):
            return hit
    return math.inf


def _describe(
    case: str, run: int, hits: Sequence[float], wrong_percent: Sequence[float]
) -> Iterator[Sample]:
    found = sum(count < math.inf for count in hits)
    yield Sample(case, run, "wrong_percent", float(np.mean(wrong_percent)))
    yield Sample(case, run, "found_percent", 100 * found / len(hits))
    yield Sample(case, run, "hits_to_find", float(np.median(hits)))
    yield Sample(case, run, "slowest_hits", max(hits))
    yield Sample(case, run, "seeds", len(hits))
