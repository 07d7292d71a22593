"""The perceptual cache in the engine: who is answered and marked, what is kept, who may opt in."""

import math
from typing import Any

import numpy as np
import pytest

from core.errors import ModelDirectoryError
from serving.engine.caches.perceptual_cache import MAX_SKETCHED_VALUES, PerceptualRoutes
from serving.engine.caches.perceptual_lookup import count_perceptual
from serving.engine.engine import Engine
from serving.settings import PerceptualRouteSettings
from tests.fakes.toys import with_engine
from tests.serving.alike import (
    ALWAYS,
    NEVER,
    CornerStage,
    alter,
    answer,
    label,
    make_picture,
    serve_alike,
    show,
)
from tests.serving.small_engine import make_manifest

A, B = make_picture(1), make_picture(2)


def test_a_picture_that_looks_alike_is_answered_as_the_first_was_and_marked() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **NEVER)

    async def use(engine: Engine) -> None:
        (first,) = await answer(engine, A)
        assert (first.stopped_by, first.similar) == ("last_stage", False)
        (second,) = await answer(engine, alter(A, label=1))
        assert (second.stopped_by, second.cached, second.similar) == ("cache", True, True)
        assert (second.outcome.exit, second.macs, label(second)) == ("light", 0, 100)

    with_engine(use, served)
    assert light.labels == [100]
    assert (similar.counts.hits, similar.counts.misses) == (1, 1)


def test_a_request_mixes_rows_known_alike_computed_and_twice_the_same() -> None:
    light = CornerStage()
    served, _ = serve_alike(light, **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        answers = await answer(engine, B, alter(A), A, B)
        assert [one.stopped_by for one in answers] == [
            "last_stage", "cache", "cache", "last_stage"
        ]  # fmt: skip
        assert [one.similar for one in answers] == [False, True, False, False]

    with_engine(use, served)
    assert light.labels == [100, 100]  # A, and B once


def test_the_same_bytes_hit_the_local_cache_and_the_perceptual_cache_is_not_asked() -> None:
    served, similar = serve_alike(CornerStage(), **ALWAYS)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        (again,) = await answer(engine, A)
        assert again.cached and not again.similar

    with_engine(use, served)
    assert (similar.counts.hits, similar.counts.misses, similar.counts.audits) == (0, 1, 0)


def test_likeness_does_not_drift_from_picture_to_picture() -> None:
    served, similar = serve_alike(CornerStage(), **NEVER)
    frames = [A]
    for _ in range(12):
        frames.append(np.minimum(frames[-1].astype(int) + 1, 255).astype(np.uint8))

    async def use(engine: Engine) -> None:
        for frame in frames:
            (one,) = await answer(engine, frame)
            if not one.similar:
                computed.append(label(one))
            assert abs(label(one) - int(frame[0, 0])) <= 4

    computed: list[int] = []
    with_engine(use, served)
    assert 3 <= len(computed) < len(frames)
    assert similar.memory.counts().entries == len(computed)


def test_a_shared_answer_is_kept_in_no_memory() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        for _ in range(2):
            (one,) = await answer(engine, alter(A))
            assert one.similar
        assert engine.memory.counts().entries == 1

    with_engine(use, served)
    assert similar.memory.counts().stores == 1


def test_flat_pictures_never_share_an_answer() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **NEVER)
    stripes = np.repeat(np.arange(0, 252, 9, dtype=np.uint8)[:, None], 28, axis=1)
    flat = [np.full((28, 28), 130, np.uint8), stripes + 130 // 9]

    async def use(engine: Engine) -> None:
        for picture in flat:
            for shade in range(3):
                (one,) = await answer(engine, picture + np.uint8(shade))
                assert not one.cached

    with_engine(use, served)
    assert len(light.labels) == similar.counts.guarded == 6
    assert similar.memory.counts().entries == 0


def test_an_unsure_answer_is_not_shared() -> None:
    light = CornerStage()
    served, _ = serve_alike(light, **NEVER)
    doubtful = make_picture(3, unsure=True)

    async def use(engine: Engine) -> None:
        for by in range(3):
            (one,) = await answer(engine, alter(doubtful, by))
            assert not one.cached

    with_engine(use, served)
    assert len(light.labels) == 3


def test_tenants_and_operating_points_do_not_share() -> None:
    served, _ = serve_alike(CornerStage(), **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        for fields in ({"tenant": "other"}, {"controls": {"min_confidence": 0.9}}):
            assert not (await answer(engine, alter(A), **fields))[0].cached
            assert (await answer(engine, alter(A, 4), **fields))[0].similar

    with_engine(use, served)


def test_no_cache_is_computed_and_teaches_nothing() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, A, no_cache=True)
        assert not (await answer(engine, alter(A)))[0].cached
        assert not (await answer(engine, alter(A, 4), no_cache=True))[0].cached

    with_engine(use, served)
    assert len(light.labels) == 3
    assert similar.counts.misses == 1


def test_a_stream_is_told_what_is_alike_at_once() -> None:
    served, _ = serve_alike(CornerStage(), **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        request = show(B, alter(A), stream=True)
        replies = [reply async for reply in engine.infer(request)]
        marks = [(reply.rows, reply.answers[0].similar, reply.final) for reply in replies]
        assert marks == [([1], True, False), ([0], False, True)]

    with_engine(use, served)


def test_one_request_may_hold_the_loop_for_so_many_values_only() -> None:
    size = 512
    most = MAX_SKETCHED_VALUES // size**2
    pictures = [make_picture(seed, size) for seed in range(most + 2)]
    served, _ = serve_alike(CornerStage(), size=size, **NEVER)

    async def use(engine: Engine) -> None:
        await answer(engine, *pictures)
        answers = await answer(engine, *map(alter, pictures))
        assert [one.similar for one in answers] == [True] * most + [False] * 2

    with_engine(use, served)


def test_a_picture_of_more_values_than_that_is_computed_unasked() -> None:
    size = math.isqrt(MAX_SKETCHED_VALUES) + 1
    served, _ = serve_alike(CornerStage(), size=size, **NEVER)

    async def use(engine: Engine) -> None:
        picture = make_picture(1, size)
        await answer(engine, picture)
        assert [one.similar for one in await answer(engine, alter(picture))] == [False]

    with_engine(use, served)


WHY_NOT = {
    "no picture": {"picture": None},
    "another input beside it": {
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]},
            {"name": "x", "datatype": "FP32", "shape": [-1]},
        ]
    },
    "floats": {"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 3]}]},
    "four channels": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3, 4]}]},
    "no dimensions": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 6]}]},
}
ONE_PICTURE = "allowed is one UINT8 picture, grey or of three colours, as input"


@pytest.mark.parametrize("changes", WHY_NOT.values(), ids=WHY_NOT.keys())
def test_a_route_that_takes_something_else_than_one_picture_is_refused(
    changes: dict[str, Any],
) -> None:
    routes = PerceptualRoutes({"small": PerceptualRouteSettings()})
    with pytest.raises(ModelDirectoryError) as caught:
        routes.open(make_manifest(**changes))
    assert str(caught.value) == f"cache.perceptual.routes.small: {ONE_PICTURE}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cache": {"enabled": False}}, "its route.toml says that it has no cache"),
        (
            {"outputs": [{"name": "heat", "datatype": "FP32", "shape": [-1, 2]}]},
            "an audit needs a label or another output of whole numbers",
        ),
    ],
)
def test_a_route_without_memory_or_without_a_label_is_refused(
    changes: dict[str, Any], why: str
) -> None:
    routes = PerceptualRoutes({"small": PerceptualRouteSettings()})
    with pytest.raises(ModelDirectoryError, match=f"^cache.perceptual.routes.small: {why}$"):
        routes.open(make_manifest(**changes))


def test_a_route_that_is_not_named_has_none() -> None:
    routes = PerceptualRoutes({"other": PerceptualRouteSettings()})
    assert routes.open(make_manifest()) is None


def test_a_reloaded_route_is_on_again_and_its_counts_go_on() -> None:
    routes = PerceptualRoutes({"small": PerceptualRouteSettings()})
    old, new = (routes.open(make_manifest()) for _ in range(2))
    assert old is not None and new is not None
    for _ in range(10):
        old._audits.record("", wrong=True)
    old.counts.hits += 3
    assert not old.on and new.on
    assert new.counts.hits == 3
    assert new.describe()["audits"] == 0


def test_versions_of_a_route_count_together() -> None:
    routes = PerceptualRoutes({"small": PerceptualRouteSettings()})
    served = []
    for version in ("2", "1"):
        one, _ = serve_alike(CornerStage(), version=version)
        one.similar = routes.open(one.manifest)
        served.append(one)

    async def use(engine: Engine) -> None:
        for version, seeds in (("1", (1, 2)), ("2", (3, 4))):
            for seed in seeds:
                await answer(engine, make_picture(seed), version=version)

    with_engine(use, *served)
    counts = count_perceptual(served)["small"]
    assert (counts["misses"], counts["entries"], counts["off"]) == (4, 4, 0)


def test_a_name_that_no_route_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    routes = PerceptualRoutes({"smal": PerceptualRouteSettings()})
    for _ in range(3):
        routes.report_unserved({"small"})
    assert caplog.text.count("cache.perceptual.routes.smal: no route of this name is served") == 1
