"""Perceptual tiers asked without a server, for `benchmarks.similar`: ours, and the paper's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.perceptual import Sketch, hash_pictures
from core.messages import Outcome, Request
from harness.load.traffic import Labels, Pictures
from harness.stage_time import run_stages
from routes.loading import LoadedRoute
from serving.engine.caches.perceptual_cache import PerceptualCounts, PerceptualRoute
from serving.settings import PerceptualRouteSettings

INPUT = "image"
BATCH_ROWS = 32
TTL_S = 1e9
NO_AUDITS = {"audit_burn_in": 0, "audit_rate": 1e-12, "max_wrong": 0.999}


class Stream(NamedTuple):
    """Pictures in the order they are asked, and what the route computes for each."""

    pictures: Pictures
    labels: Labels
    confidences: npt.NDArray[np.float64]


def compute(route: LoadedRoute, pictures: Pictures) -> Stream:
    """As they are."""
    found = run_stages(route.pipeline, pictures, BATCH_ROWS)
    return Stream(pictures, found.labels, found.confidences)


def mix(first: Stream, second: Stream, seed: int) -> Stream:
    """Pictures and their near-duplicates, shuffled."""
    order = np.random.default_rng(seed).permutation(len(first.pictures) + len(second.pictures))
    return Stream(
        np.concatenate([first.pictures, second.pictures])[order],
        np.concatenate([first.labels, second.labels])[order],
        np.concatenate([first.confidences, second.confidences])[order],
    )


def open_tier(
    route: LoadedRoute,
    sketch: Callable[[Pictures], Sequence[Sketch]] | None = None,
    audits: Mapping[str, Any] = NO_AUDITS,
    **settings: Any,
) -> PerceptualRoute:
    """The shipped tier; settings that the server would refuse are taken as they are."""
    limits = PerceptualRouteSettings.model_construct(**{**audits, **settings})
    options: dict[str, Any] = {} if sketch is None else {"sketch": sketch}
    return PerceptualRoute(route.manifest, limits, PerceptualCounts(), **options)


def ask_tier(tier: PerceptualRoute, stream: Stream) -> tuple[int, int]:
    """Ask for every picture, tell the tier what was computed for those it does not know.

    Returns hits and wrong hits; an audited hit is computed, and counted as wrong or not all the
    same. Ends where the audit switches the tier off.
    """
    hits = wrong = 0
    for start in range(0, len(stream.pictures), BATCH_ROWS):
        if not tier.on:
            break
        pictures = stream.pictures[start : start + BATCH_ROWS]
        request = Request("", {INPUT: pictures})
        known, probes = tier.look_up(request, range(len(pictures)))
        shared = dict(known)
        for row, probe in probes.items():
            if probe.audited is not None:
                shared[row] = probe.audited.outcome
        hits += len(shared)
        for row, outcome in shared.items():
            wrong += int(outcome.outputs["label"]) != stream.labels[start + row]
        for row, probe in probes.items():
            place = start + row
            outputs = {"label": np.array(stream.labels[place])}
            probe.complete(Outcome(outputs, float(stream.confidences[place]), ""), TTL_S)
    return hits, wrong


def ask_paper(stream: Stream) -> tuple[int, int]:
    """The dual-CNN paper's dictionary: equal dHashes share, nothing is verified or left out."""
    hits = wrong = 0
    known: dict[int, int] = {}
    for start in range(0, len(stream.pictures), BATCH_ROWS):
        keys = hash_pictures(stream.pictures[start : start + BATCH_ROWS]).tolist()
        for key, computed in zip(keys, stream.labels[start:].tolist(), strict=False):
            hits += key in known
            wrong += known.setdefault(key, computed) != computed
    return hits, wrong
