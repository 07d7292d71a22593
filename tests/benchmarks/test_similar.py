"""The benchmark of the perceptual cache makes what it says, counts right, and judges by samples."""

import math

import numpy as np
import pytest
from rich.console import Console

from benchmarks.caching.audits import BROKEN, RATES, find_broken, find_rate
from benchmarks.caching.near_duplicates import KINDS, make_kind, make_mixed
from benchmarks.caching.tiers import Stream, ask_paper, ask_tier, compute, mix, open_tier
from benchmarks.similar import MIXED, PAPER, REPORT, VARIANTS, measure_sharing
from core.devices.onnx import OnnxDevice
from harness.live_server import ROOT
from harness.results import Results, Sample
from harness.stage_time import open_route
from routes.loading import LoadedRoute
from routes.offline import run_offline

TIERS = (*VARIANTS, PAPER)
RNG = np.random.default_rng(0)
WAVES = np.add.outer(np.sin(np.arange(28) / 3), np.cos(np.arange(28) / 4))
PICTURES = np.stack([
    np.clip(128 + 50 * np.roll(WAVES, shift, axis=1) + RNG.integers(-20, 21, (28, 28)), 0, 255)
    for shift in range(24)
]).astype(np.uint8)  # fmt: skip


@pytest.fixture(scope="module")
def route() -> LoadedRoute:
    return open_route(ROOT / "models", "fashion-mnist")


@pytest.mark.parametrize("kind", KINDS)
def test_a_near_duplicate_differs_a_little_and_is_seeded(kind: str) -> None:
    one, again, other = (make_kind(kind, PICTURES, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert (one.shape, one.dtype) == (PICTURES.shape, PICTURES.dtype)
    if "JPEG" not in kind:
        assert not np.array_equal(one, other)
    difference = np.abs(one.astype(int) - PICTURES)
    assert difference.max(axis=(1, 2)).min() > 0
    assert np.median(difference) <= 30


def test_a_mixture_has_every_kind_and_one_picture_for_each() -> None:
    pictures = np.concatenate([PICTURES] * 20)
    mixed = make_mixed(pictures, 3)
    assert np.array_equal(mixed, make_mixed(pictures, 3))
    rises = np.median(mixed.astype(int) - pictures, axis=(1, 2))
    for levels in (-10, -3, 3, 10):
        assert (rises == levels).sum() > 10


def test_the_route_is_computed_as_row_by_row(route: LoadedRoute) -> None:
    found = compute(route, PICTURES)
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice())
    for row, label, confidence in zip(rows, found.labels, found.confidences, strict=True):
        assert row.outcome is not None
        assert (int(row.outcome.outputs["label"]), row.outcome.confidence) == (label, confidence)


def make_stream(*labels: int, pictures: np.ndarray = PICTURES) -> Stream:
    return Stream(pictures[: len(labels)], np.array(labels), np.ones(len(labels)))


def test_hits_and_wrong_hits_are_counted_against_what_is_computed(route: LoadedRoute) -> None:
    three = np.concatenate([PICTURES[:1]] * 40)
    three[:, 5, 5] = 100 + np.arange(40) // 20  # alike, and in two batches
    labels = [3] * 38 + [4, 3]
    assert ask_tier(open_tier(route), make_stream(*labels, pictures=three)) == (8, 1)
    unsure = make_stream(*labels, pictures=three)._replace(confidences=np.full(40, 0.5))
    assert ask_tier(open_tier(route), unsure) == (0, 0)
    assert ask_tier(open_tier(route, least_confidence=0.5), unsure) == (8, 1)


def test_the_papers_dictionary_shares_between_equal_hashes_and_all_flat_pictures() -> None:
    flat = np.arange(40, 44, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    pictures = np.concatenate([PICTURES[:2], PICTURES[:1], flat])
    assert ask_paper(make_stream(0, 1, 0, 5, 5, 6, 6, pictures=pictures)) == (4, 2)


def test_a_stream_holds_both_halves_with_their_own_answers(route: LoadedRoute) -> None:
    first = compute(route, PICTURES)
    second = compute(route, make_kind("shifted by 1 pixel", PICTURES, 0))
    stream = mix(first, second, seed=1)
    again = compute(route, stream.pictures)
    assert len(stream.pictures) == 2 * len(PICTURES)
    assert np.array_equal(again.labels, stream.labels)
    assert np.array_equal(again.confidences, stream.confidences)
    assert not np.array_equal(stream.pictures[: len(PICTURES)], PICTURES)


def test_every_tier_is_measured_on_every_kind(route: LoadedRoute) -> None:
    samples = list(measure_sharing(route, PICTURES, 1, Console(quiet=True)))
    cases = {sample.case for sample in samples}
    assert cases == {f"{tier} @ {kind}" for tier in TIERS for kind in (MIXED, *KINDS)}
    results = Results({}, samples)
    hits = {tier: results.median(f"{tier} @ noise of 2 levels", "hits") for tier in TIERS}
    assert hits["without verification"] >= hits["twice the difference"] >= hits["as shipped"]
    assert hits["unsure answers too"] >= hits["as shipped"]
    assert results.median(f"as shipped @ {MIXED}", "requests") == 2 * len(PICTURES)


@pytest.mark.parametrize("name", ["one sketch for all", "witness agrees to everything"])
def test_a_broken_sketch_is_found(route: LoadedRoute, name: str) -> None:
    labels = RNG.integers(10, size=24 * 20)
    pictures = np.concatenate([PICTURES] * 20)
    stream = Stream(pictures, labels, np.ones(len(labels)))
    hits, wrong_percent = find_broken(route, BROKEN[name], 0, stream)
    assert hits < 100
    assert 50 < wrong_percent <= 100


def test_a_rate_far_above_the_limit_is_found_and_none_is_not() -> None:
    assert find_rate(0.5, 0, 2000) < 100
    assert find_rate(0.5, 0, 2000) == find_rate(0.5, 0, 2000)
    assert find_rate(0.0, 0, 2000) == math.inf


def make_results(wrong: int, slowest: float = 30.0, off_percent: float = 0.3) -> Results:
    samples = []
    for run in range(2):
        for tier in TIERS:
            for kind in (MIXED, *KINDS):
                facts = {"requests": 2000, "hits": 700, "wrong": wrong, "wrong_percent": 0.1}
                samples += [
                    Sample(f"{tier} @ {kind}", run, metric, value)
                    for metric, value in facts.items()
                ]
        cases = [f"broken: {name}" for name in BROKEN] + [f"wrong in {rate:.1%}" for rate in RATES]
        for case in [*cases, f"wrong in {0.002:.1%} of hits"]:
            facts = {"wrong_percent": 50.0, "hits_to_find": 20.0, "slowest_hits": slowest,
                     "seeds": 8, "found_percent": 100.0}  # fmt: skip
            samples += [Sample(case, run, metric, value) for metric, value in facts.items()]
        samples.append(Sample("within the limit", run, "found_percent", off_percent))
    return Results({}, samples)


@pytest.mark.parametrize(
    ("results", "missed"),
    [
        (make_results(0), 0),
        (make_results(1), 2),  # 1 of 700: wrong in 0.14 %
        (make_results(0, slowest=2001.0), len(BROKEN)),
        (make_results(0, slowest=math.inf), len(BROKEN)),
        (make_results(0, off_percent=1.1), 1),
    ],
)
def test_verdicts_follow_from_the_samples(results: Results, missed: int) -> None:
    assert [row.met for row in REPORT.judge(results)].count(False) == missed
