"""What an explanation says of stages, caches and the end of a row."""

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from core.messages import Next, Outcome, Step
from harness.services.redis_server import RedisServer
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.settings import EngineSettings, ServerSettings
from tests.fakes.toys import ToyStage, cascade, final, serve_toy
from tests.serving.alike import NEVER, CornerStage, alter, make_picture, serve_alike
from tests.serving.http.explain.scene import (
    TINY,
    TOY,
    Scene,
    encode,
    load,
    play,
    toy,
    write_json,
)
from tests.serving.tiers import Process, make_dear, stored, with_processes


def test_thresholds_times_and_joules_are_told(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.energy.source, metrics.energy.joules_per_s = "model", 10.0

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TINY, content=encode(make_pictures(1)[0]))
        (first, *_) = facts["stages"]
        assert (first["threshold"], first["batch_rows"]) == (0.5, 1)
        assert first["device_ms"] > 0.0 and first["queue_ms"] >= 0.0
        assert facts["energy_source"] == "model"
        joules = sum(one["energy_mj"] for one in facts["stages"])
        assert joules == pytest.approx(facts["answer"]["energy_mj"])
        assert first["energy_mj"] == pytest.approx(first["cpu_ms"] * 10.0, abs=1e-2)

    play(script, load(write_route, tmp_path), metrics=metrics)


def test_a_row_that_costs_less_than_caching_it_uses_no_cache() -> None:
    served = serve_toy(ToyStage("only", lambda x: final(x, "only")))
    served.cache_row_s = 5e-6
    served.entry.row_cost.observe(100_000, 0.1)

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TOY, content=toy(3))
        assert facts["cache"] == {"state": "not used", "tier": None, "stored": False}

    play(script, served)


def test_a_row_that_joins_an_identical_one_is_told_so() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def script(scene: Scene) -> None:
        plain = asyncio.create_task(scene.client.post("/v2/models/toy/infer", content=toy(3)))
        await until(lambda: bool(large.batches))
        explaining = asyncio.create_task(scene.explain(TOY, content=toy(3)))
        await until(lambda: scene.engine._calls == 2)
        gate.set()
        await plain
        facts = await explaining
        assert facts["cache"] == {"state": "joined", "tier": None, "stored": True}
        assert [one["stage"] for one in facts["stages"]] == ["large"]
        assert (facts["stages"][0]["macs"], facts["answer"]["macs"]) == (1, 0)
        assert len(large.batches) == 1

    play(script, serve_toy(light, large))


def test_a_deadline_ends_the_path_before_a_stage() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TOY, content=toy(3, timeout_ms=600))
        gate.set()
        assert facts["answer"]["stopped_by"] == "deadline"
        assert facts["why"] == "the deadline came before stage large could answer"
        (one,) = facts["stages"]
        assert (one["stage"], one["result"], one["passed"]) == ("light", "continued", False)
        assert facts["not_run"] == ["large"]
        assert facts["cache"] == {"state": "miss", "tier": None, "stored": False}

    play(script, serve_toy(light, large), settings=EngineSettings(reply_margin_s=0.4))


def test_an_energy_budget_ends_the_path_before_a_stage() -> None:
    metrics = Metrics()
    metrics.energy.source, metrics.energy.joules_per_s = "model", 10.0
    light, large = cascade()
    served = serve_toy(light, large, metrics=metrics)
    served.lanes["large"].times.calibrate(1.0, 1.0, 1)

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TOY, content=toy(3, energy_mj=1000))
        assert facts["answer"]["stopped_by"] == "energy"
        assert facts["why"] == "stage large would have exceeded the energy budget"
        assert facts["parameters"]["energy_mj"] == 1000.0

    play(script, served, metrics=metrics)


def test_a_row_in_a_batch_with_others_is_told_its_own_part() -> None:
    gate = threading.Event()
    stage = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def script(scene: Scene) -> None:
        first = asyncio.create_task(scene.client.post("/v2/models/toy/infer", content=toy(1)))
        await until(lambda: bool(stage.batches))
        infer = [
            asyncio.create_task(scene.client.post("/v2/models/toy/infer", content=toy(value)))
            for value in (2, 4)
        ]
        explaining = asyncio.create_task(scene.explain(TOY, content=toy(3)))
        await until(lambda: scene.engine.catalog.resolve("toy", None).entry.rows == 3)
        gate.set()
        facts = await explaining
        (one,) = facts["stages"]
        assert (one["batch_rows"], one["outputs"], one["queue_ms"] > 0) == (3, {"y": 3.0}, True)
        await asyncio.gather(first, *infer)

    play(script, serve_toy(stage))


def test_a_large_output_is_summed_up_and_a_long_loop_cut_off() -> None:
    def step(value: float) -> Step:
        outputs = {"y": np.arange(2000.0)}
        onward = Next("loop", {"x": np.asarray(value - 1)}) if value > 0 else None
        return Step(1, Outcome(outputs, 0.5, "loop"), onward)

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TOY, content=toy(299))
        assert (len(facts["stages"]), facts["runs_dropped"]) == (256, 44)
        summary = {"shape": [2000], "datatype": "float64", "min": 0.0, "max": 1999.0}
        assert facts["stages"][0]["outputs"]["y"] == {**summary, "mean": 999.5}

    play(script, serve_toy(ToyStage("loop", step)))


def test_a_similar_pictures_answer_is_told() -> None:
    served, _ = serve_alike(CornerStage(), least_confidence=0.5, **NEVER)
    picture = make_picture(1)

    async def script(scene: Scene) -> None:
        path = "/v1/routes/small/explain"
        await scene.explain(path, content=write_json(picture))
        facts = await scene.explain(path, content=write_json(alter(picture)))
        assert facts["cache"] == {"state": "similar", "tier": None, "stored": False}
        assert facts["why"] == "the perceptual cache held the answer of a similar picture"
        assert facts["stages"] == []

    play(script, served)


def test_the_remote_caches_answer_is_told(redis: RedisServer) -> None:
    async def explain(process: Process) -> dict[str, Any]:
        endpoint = HttpEndpoint(process.engine, ServerSettings(), Metrics())
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            reply = await client.post(TOY, content=toy(2))
        endpoint.close()
        facts: dict[str, Any] = reply.json()
        return facts

    async def use(first: Process, second: Process) -> None:
        assert (await explain(first))["cache"]["state"] == "miss"
        await stored(first, 1)
        facts = await explain(second)
        assert facts["cache"] == {"state": "hit", "tier": 2, "stored": True}
        assert facts["why"] == "the remote cache held the answer"
        assert facts["stages"] == []

    makers = [partial(make_process, redis.url), partial(make_process, redis.url)]
    with_processes(use, *makers)


def make_process(url: str) -> Process:
    return Process(url, make_dear(serve_toy(*cascade())))
