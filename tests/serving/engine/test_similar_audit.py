"""The audit of the perceptual cache: what it computes, that it ends, and that it switches off."""

import asyncio
import logging
import threading
import time

import numpy as np
import pytest

from cache.perceptual import Sketch, sketch_pictures
from core.errors import DeadlineExceeded
from harness.waiting import until
from serving.engine.caches.perceptual_lookup import count_perceptual
from serving.engine.engine import Engine
from tests.fakes.toys import with_engine
from tests.serving.alike import (
    ALWAYS,
    Bytes,
    CornerStage,
    alter,
    answer,
    label,
    make_picture,
    serve_alike,
)

A, B = make_picture(1), make_picture(2)


def test_an_audited_hit_is_computed_and_answered_by_what_was_computed() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **ALWAYS)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        (right,) = await answer(engine, alter(A))
        (wrong,) = await answer(engine, alter(A, label=1))
        for one, value in ((right, 100), (wrong, 101)):
            assert (one.stopped_by, one.similar, label(one)) == ("last_stage", False, value)
        assert (similar.counts.audits, similar.counts.wrong) == (2, 1)
        assert (await answer(engine, alter(A)))[0].cached  # it was computed, so it is remembered

    with_engine(use, served)
    assert light.labels == [100, 100, 101]
    assert similar.counts.hits == 0


def test_an_answer_that_an_audit_proved_wrong_is_not_given_again() -> None:
    served, similar = serve_alike(CornerStage(), **ALWAYS)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        await answer(engine, alter(A, label=2))
        (entry, _) = similar.memory.find(("", b""), sketch_pictures(A[None])[0], similar._bounds)
        assert entry is not None and int(entry.outcome.outputs["label"]) == 102

    with_engine(use, served)
    assert similar.memory.counts().entries == 1


def test_an_audit_is_finished_though_its_caller_has_gone() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **ALWAYS)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        light.gate = threading.Event()
        blocker = asyncio.create_task(answer(engine, B))
        await until(lambda: len(light.labels) == 2)
        asking = [
            asyncio.create_task(answer(engine, picture))
            for picture in (alter(A, label=1), make_picture(5, label=7))
        ]
        await until(lambda: served.entry.rows == 2)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert served.entry.rows == 1  # what nobody asks for and no audit wants is not computed
        light.gate.set()
        await blocker
        await until(lambda: not engine.under_way.flights)

    with_engine(use, served)
    assert light.labels == [100, 100, 101]
    assert (similar.counts.audits, similar.counts.wrong) == (1, 1)


@pytest.mark.parametrize("rebatch", [True, False])
def test_an_audit_is_finished_though_time_was_up(rebatch: bool) -> None:
    light, large = CornerStage(onward="large"), CornerStage("large")
    served, similar = serve_alike(light, large, **ALWAYS)
    odd = make_picture(4, label=101)

    async def use(engine: Engine) -> None:
        await answer(engine, odd)
        light.gate, large.gate = threading.Event(), threading.Event()
        others = [asyncio.create_task(answer(engine, B))]
        await until(lambda: light.labels == [101, 100])
        others.append(asyncio.create_task(answer(engine, make_picture(9, label=51))))
        soon = time.monotonic() + 0.5
        asking = asyncio.create_task(answer(engine, alter(odd, label=2), deadline=soon))
        await until(lambda: served.entry.rows == 2)
        others.append(asyncio.create_task(answer(engine, make_picture(10, label=53))))
        await until(lambda: served.entry.rows == 3)
        light.gate.set()
        (cut,) = await asking
        assert (cut.stopped_by, cut.outcome.exit) == ("deadline", "light")
        assert similar.counts.audits == 0
        large.gate.set()
        await asyncio.gather(*others)
        await until(lambda: not engine.under_way.flights)

    with_engine(use, served, rebatch_stages=rebatch, reply_margin_s=0.2, patience_s=0.01)
    assert large.labels == [101, 51, 103, 53]  # as they came: it waited without a caller
    assert (similar.counts.audits, similar.counts.wrong) == (1, 1)


def test_a_caller_who_is_late_for_an_audit_is_told_so_and_the_audit_goes_on() -> None:
    light = CornerStage()
    served, similar = serve_alike(light, **ALWAYS)

    async def use(engine: Engine) -> None:
        await answer(engine, A)
        light.gate = threading.Event()
        blocker = asyncio.create_task(answer(engine, B))
        await until(lambda: len(light.labels) == 2)
        with pytest.raises(DeadlineExceeded):
            await answer(engine, alter(A), deadline=time.monotonic() + 0.2)
        light.gate.set()
        await blocker
        await until(lambda: not engine.under_way.flights)

    with_engine(use, served)
    assert similar.counts.audits == 1


def take_all_for_one(pictures: Bytes) -> list[Sketch]:
    """A broken hash, and a broken witness: all pictures look the same."""
    return sketch_pictures(np.broadcast_to(A, pictures.shape))


def test_a_broken_hash_is_switched_off_and_everything_is_computed_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served, similar = serve_alike(CornerStage(), sketch=take_all_for_one)

    async def use(engine: Engine) -> None:
        seed = 0
        while similar.on:
            seed += 1
            await answer(engine, make_picture(seed, label=seed % 10))
            assert similar.counts.hits + similar.counts.audits < 2000
        for seed in range(5000, 5010):
            (one,) = await answer(engine, make_picture(seed, label=seed % 10))
            assert (label(one), one.cached) == (seed % 10, False)

    with caplog.at_level(logging.ERROR):
        with_engine(use, served)
    assert caplog.text.count("perceptual cache of route small version 1 is off") == 1
    counts = similar.memory.counts()
    assert (counts.entries, counts.size_bytes) == (0, 0)
    assert similar.describe()["on"] is False
    assert count_perceptual([served])["small"]["off"] == 1
    limit_connections = similar.describe()["wrong_rate_at_least"]
    assert isinstance(limit_connections, float) and limit_connections > similar._settings.max_wrong


@pytest.mark.parametrize("wrong_of_100", [3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_a_hash_that_is_wrong_now_and_then_is_switched_off_within_2000_hits(
    wrong_of_100: int, seed: int
) -> None:
    served, similar = serve_alike(CornerStage(), audit_seed=seed)
    rng = np.random.default_rng(seed)
    pictures = [make_picture(1000 + number) for number in range(40)]

    async def use(engine: Engine) -> None:
        while similar.on:
            picture = pictures[rng.integers(len(pictures))]
            frame = alter(picture, label=int(rng.integers(100) < wrong_of_100))
            frame[27, 20:] ^= rng.integers(0, 4, 8, dtype=np.uint8)  # no frame comes twice
            await answer(engine, frame)
            assert similar.counts.hits + similar.counts.audits <= 2000

    with_engine(use, served)
