"""The explain endpoint: every kind of route, the ways in which a row stops, and what is refused."""

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import numpy.typing as npt
import orjson
import pytest
from PIL import Image

from cache.local_cache import LocalCache
from core.devices import CpuDevice
from core.messages import Next, Outcome, Step
from harness.tiny_routes import make_pictures, make_poison, write_route
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from monitoring.tracing.sampling import NO_TRACING, Sampling, Tracing
from monitoring.tracing.traces import SampledTrace
from routes.loading import LoadedRoute, load_route
from routes.offline import run_offline
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.http.openapi import make_document
from serving.settings import EngineSettings, ServerSettings
from tests.fakes.tiny_kinds import write_cbnet, write_encoder_only, write_exits, write_gated
from tests.fakes.toys import ToyStage, cascade, final, serve_toy

Bytes = npt.NDArray[np.uint8]
Make = Callable[[Path], Path]
KINDS: dict[str, Make] = {
    "dual-cnn": lambda root: write_route(root, stages=3, poison=True),
    "single": lambda root: write_route(root, stages=1, pipeline="single", poison=True),
    "exits": write_exits,
    "cbnet": write_cbnet,
    "cbnet-gated": write_gated,
    "encoder-only": write_encoder_only,
}
DOCUMENT = make_document("1")
PNG = {"Accept": "image/png"}
TOY = "/v1/routes/toy/explain"
TINY = "/v1/routes/tiny/explain"


class Scene:
    """A client, and the engine behind the endpoint that it asks."""

    def __init__(self, client: httpx.AsyncClient, engine: Engine, metrics: Metrics) -> None:
        self.client = client
        self.engine = engine
        self.metrics = metrics

    def count(self, route: str) -> dict[str, int]:
        """The route's requests by result."""
        return {name: count for name, count in self.metrics.request_results(route).items() if count}

    async def explain(self, path: str, **options: Any) -> dict[str, Any]:
        """A successful explanation, in the document's shape."""
        reply = await self.client.post(path, **options)
        assert reply.status_code == 200, reply.text
        facts: dict[str, Any] = reply.json()
        check_shape(facts, "Explanation")
        return facts


def check_shape(facts: dict[str, Any], schema: str) -> None:
    reference = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    jsonschema.validate(facts, reference)


def play(
    script: Callable[[Scene], Awaitable[None]],
    *routes: ServedRoute | LoadedRoute,
    tracing: Tracing = NO_TRACING,
    metrics: Metrics | None = None,
    settings: EngineSettings = EngineSettings(),  # noqa: B008
    **server: Any,
) -> None:
    async def main() -> None:
        counts = metrics or Metrics()
        served = [serve(one, counts) if isinstance(one, LoadedRoute) else one for one in routes]
        engine = Engine(Catalog(served), settings, LocalCache(1 << 20), CpuDevice())
        endpoint = HttpEndpoint(engine, ServerSettings(**server), counts, tracing)
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                await script(Scene(client, engine, counts))
            assert engine._scheduler.traced == 0
        finally:
            endpoint.close()
            engine.close()

    asyncio.run(main())


def serve(route: LoadedRoute, metrics: Metrics) -> ServedRoute:
    stages = [stage.name for stage in route.manifest.stages]
    counts = metrics.add_route(route.manifest.route, stages)
    return ServedRoute(route.manifest, route.pipeline, counts)


def load(make: Make, root: Path) -> LoadedRoute:
    return load_route(make(root), CpuDevice())


def encode(picture: Bytes) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_json(picture: Bytes, **parameters: Any) -> bytes:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28]}
    data = picture.ravel().tolist()
    return orjson.dumps({"inputs": [{**tensor, "data": data}], "parameters": parameters})


def write_binary(picture: Bytes, **parameters: Any) -> dict[str, Any]:
    size = {"binary_data_size": picture.nbytes}
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "parameters": size}
    header = orjson.dumps({"inputs": [tensor], "parameters": parameters})
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return {"content": header + picture.tobytes(), "headers": headers}


def toy(value: float, **parameters: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [value]}
    return orjson.dumps({"inputs": [tensor], "parameters": parameters})


@pytest.mark.parametrize("kind", KINDS)
def test_the_path_is_the_one_that_the_row_takes_without_a_server(kind: str, tmp_path: Path) -> None:
    route = load(KINDS[kind], tmp_path)
    pictures = make_pictures(12, seed=5)
    rows = run_offline(route.pipeline, {"image": pictures}, CpuDevice())

    async def script(scene: Scene) -> None:
        for picture, row in zip(pictures, rows, strict=True):
            facts = await scene.explain(TINY, content=encode(picture))
            stages = facts["stages"]
            assert [one["stage"] for one in stages] == list(row.stages)
            assert [one["macs"] for one in stages] == [step.macs for step in row.steps]
            for one, step in zip(stages, row.steps, strict=True):
                assert one["next"] == (None if step.next is None else step.next.stage)
                if step.answer is None:  # a conversion that its gate rejected
                    assert (one["confidence"], one["outputs"]) == (None, {})
                    continue
                assert one["confidence"] == step.answer.confidence
                given = np.array(one["outputs"]["probabilities"], np.float32)
                assert given.tobytes() == step.answer.outputs["probabilities"].tobytes()
                assert one["outputs"]["label"] == int(step.answer.outputs["label"])
            assert [one["passed"] for one in stages] == [*[False] * (len(stages) - 1), True]
            assert facts["answer"]["macs"] == row.macs
            declared = [stage.name for stage in route.manifest.stages]
            assert facts["not_run"] == declared[len(stages) :] or kind == "cbnet-gated"
            assert facts["digest"] == route.manifest.digest.hex()
            assert facts["cache"] == {"state": "miss", "tier": None, "stored": True}
            last = facts["answer"]["stopped_by"] == "last_stage"
            assert ("is the last stage" in facts["why"]) == last
            assert ("its threshold is" in facts["why"]) != last

    play(script, route)


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


def test_every_body_gives_the_same_path_and_then_the_cached_answer(tmp_path: Path) -> None:
    picture = make_pictures(1, seed=9)[0]
    bodies: list[dict[str, Any]] = [
        {"content": encode(picture)},
        {"json": [base64.b64encode(encode(picture)).decode()]},
        {"content": write_json(picture)},
        {"content": b" " * 70_000 + write_json(picture)},  # parsed in a thread
        write_binary(picture),
    ]

    async def script(scene: Scene) -> None:
        first = await scene.explain(TINY, content=encode(picture))
        for body in bodies:
            facts = await scene.explain(TINY, **body)
            assert facts["stages"] == []
            assert facts["cache"] == {"state": "hit", "tier": 1, "stored": True}
            assert facts["why"] == "the local cache held the answer"
            assert facts["answer"]["probabilities"] == first["answer"]["probabilities"]
        anew = await scene.explain(TINY, params={"no_cache": "true"}, content=encode(picture))
        assert anew["stages"][0]["outputs"] == first["stages"][0]["outputs"]
        assert anew["cache"]["state"] == "not used"
        plain = (await scene.client.post(TINY.replace("explain", "predict"), **bodies[0])).json()
        assert plain["answers"][0]["cached"]

    play(script, load(write_route, tmp_path))


def test_the_parameters_of_the_request_decide_the_path(tmp_path: Path) -> None:
    picture = make_pictures(1, seed=1)[0]

    async def script(scene: Scene) -> None:
        for options in (
            {"content": write_json(picture, min_confidence=1, no_cache=True)},
            {"content": encode(picture), "params": {"min_confidence": "1", "no_cache": "1"}},
            write_binary(picture, min_confidence="1", no_cache=True),
        ):
            facts = await scene.explain(TINY, **options)
            assert [one["stage"] for one in facts["stages"]] == ["stage1"]
            assert facts["not_run"] == ["stage0"]
            assert facts["parameters"] == {"min_confidence": 1.0, "no_cache": True}

    play(script, load(write_route, tmp_path))


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


def test_a_deadline_without_an_answer_is_an_error_with_the_path_so_far() -> None:
    gate = threading.Event()
    stage = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def script(scene: Scene) -> None:
        reply = await scene.client.post(TOY, content=toy(3, timeout_ms=200))
        gate.set()
        assert reply.status_code == 504
        check_shape(reply.json(), "Error")
        assert reply.json()["explanation"]["not_run"] == ["only"]
        assert scene.count("toy") == {"DeadlineExceeded": 1}

    metrics = Metrics()
    play(script, serve_toy(stage, metrics=metrics), metrics=metrics)


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


def test_a_failed_stage_ends_the_path_with_the_error(tmp_path: Path) -> None:
    poison = make_poison()

    async def script(scene: Scene) -> None:
        reply = await scene.client.post(TINY, content=encode(poison))
        assert reply.status_code == 500
        facts = reply.json()
        check_shape(facts, "Error")
        assert facts["error"] == "stage stage0 failed on this input"
        (one,) = facts["explanation"]["stages"]
        assert (one["result"], one["passed"], one["confidence"]) == ("failed", False, None)
        assert facts["explanation"]["not_run"] == ["stage1"]
        assert "answer" not in facts["explanation"]
        whole = await scene.client.post(TINY, content=write_json(poison, partial=True))
        assert whole.status_code == 200
        assert whole.json()["answer"]["stopped_by"] == "failed"
        assert whole.json()["why"] == "stage stage0 failed on this input"
        assert scene.count("tiny") == {"StageFailed": 1, "ok": 1}

    play(script, load(lambda root: write_route(root, poison=True), tmp_path))


def test_a_stage_that_raises_has_failed() -> None:
    def fail(_value: float) -> Step:
        raise RuntimeError

    async def script(scene: Scene) -> None:
        reply = await scene.client.post(TOY, content=toy(3))
        assert reply.status_code == 500
        (one,) = reply.json()["explanation"]["stages"]
        assert (one["stage"], one["result"]) == ("only", "failed")

    play(script, serve_toy(ToyStage("only", fail)))


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


@pytest.mark.parametrize(
    ("options", "status", "result", "said"),
    [
        ({"content": b"{}"}, 400, "InvalidInput", "inputs"),
        ({"content": b"{"}, 400, "InvalidInput", "not JSON"),
        ({"content": b"what"}, 400, "InvalidInput", "route toy takes no pictures"),
        ({"content": b"["}, 400, "InvalidInput", "route toy takes no pictures"),
        ({"content": toy(1, min_confidence=2)}, 400, "InvalidInput", "parameters.min_confidence"),
        ({"content": toy(1, timeout_ms=0)}, 504, "DeadlineExceeded", "deadline"),
        ({"content": b"{" + b" " * (3 << 20)}, 413, "BodyTooLarge", "for one row"),
        ({"content": toy(1), "params": {"version": "7"}}, 404, "UnknownRoute", "no version '7'"),
        ({"content": toy(1), "headers": PNG}, 406, "InvalidInput", "route toy draws no picture"),
        (
            {"content": toy(1), "headers": {"Content-Encoding": "gzip"}},
            415,
            "UnsupportedEncoding",
            "Content-Encoding",
        ),
        ({"content": toy(1), "headers": {"Content-Length": "99999999"}}, 413, "BodyTooLarge", ""),
    ],
)
def test_what_predict_and_infer_refuse_is_refused_here(
    options: dict[str, Any], status: int, result: str, said: str
) -> None:
    async def script(scene: Scene) -> None:
        reply = await scene.client.post(TOY, **options)
        assert (reply.status_code, set(reply.json())) == (status, {"error"})
        assert said in reply.json()["error"]
        assert scene.count("toy") == {result: 1}

    metrics = Metrics()
    stage = ToyStage("only", lambda x: final(x, "only"))
    play(script, serve_toy(stage, metrics=metrics), metrics=metrics)


def test_several_rows_or_pictures_and_an_unknown_route_are_refused(tmp_path: Path) -> None:
    pictures = [base64.b64encode(encode(one)).decode() for one in make_pictures(2)]

    async def script(scene: Scene) -> None:
        reply = await scene.client.post(TINY, json=pictures)
        assert reply.json()["error"] == "inputs: given 2 rows, allowed 1 that is explained"
        assert reply.status_code == 400
        assert (await scene.client.post("/v1/routes/other/explain", content=b"")).status_code == 404
        assert (await scene.client.get(TINY)).status_code == 405

    play(script, load(write_route, tmp_path))


def test_a_token_is_needed_here_too() -> None:
    async def script(scene: Scene) -> None:
        assert (await scene.client.post(TOY, content=toy(1))).status_code == 401

    stage = ToyStage("only", lambda x: final(x, "only"))
    play(script, serve_toy(stage), bearer_token="secret")


def test_a_sampled_request_is_traced_and_explained_and_others_leave_no_exemplar() -> None:
    told: list[SampledTrace] = []
    parent = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}

    async def script(scene: Scene) -> None:
        await scene.explain(TOY, content=toy(2))
        assert told == []
        facts = await scene.explain(TOY, content=toy(3), headers=parent)
        assert [one["stage"] for one in facts["stages"]] == ["light", "large"]
        (trace,) = told
        assert trace.id == "1" * 32
        assert [span.name for span in trace.spans][-2:] == ["stage large", "encode"]
        exits = scene.metrics._routes["toy"].exits
        examples = [one.trace for exit in exits.values() for one in exit.exemplars.values()]
        assert examples == ["1" * 32]

    metrics = Metrics()
    tracing = Sampling(0.0, told.append)
    play(script, serve_toy(*cascade(), metrics=metrics), tracing=tracing, metrics=metrics)


def test_a_converted_picture_is_drawn_beside_the_given_one(tmp_path: Path) -> None:
    route = load(lambda root: write_cbnet(root, draws=True), tmp_path)
    picture = make_pictures(1, seed=4)[0]
    session = route.pipeline.stages["stage0"].final.session  # type: ignore[attr-defined]
    (converted,) = session.run(["converted"], {"image": picture[None]})

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TINY, content=encode(picture))
        for _ in range(2):  # a picture shows a run of its own, whatever the cache holds
            reply = await scene.client.post(TINY, content=encode(picture), headers=PNG)
            assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
            drawn = np.asarray(Image.open(BytesIO(reply.content)))
            assert drawn.shape == (224, 448)
            assert np.array_equal(drawn[::8, :224:8], picture)
            wanted = np.round(converted.reshape(28, 28) * 255)
            assert np.array_equal(drawn[::8, 224::8], wanted)
        both = {"Accept": "image/png, application/json"}
        assert (await scene.explain(TINY, content=encode(picture), headers=both))["answer"][
            "probabilities"
        ] == facts["answer"]["probabilities"]
        poison = await scene.client.post(TINY, content=encode(make_poison()), headers=PNG)
        assert poison.status_code == 500
        assert scene.count("tiny")["ok"] == 4

    play(script, route)


def test_a_picture_does_not_change_the_answers_of_others_in_its_batch(tmp_path: Path) -> None:
    route = load(lambda root: write_cbnet(root, draws=True), tmp_path)
    pictures = make_pictures(6, seed=4)
    offline = run_offline(route.pipeline, {"image": pictures}, CpuDevice())
    path = "/v1/routes/tiny/predict"

    async def script(scene: Scene) -> None:
        asking = [scene.client.post(path, content=encode(one)) for one in pictures]
        drawing = [scene.client.post(TINY, content=encode(one), headers=PNG) for one in pictures]
        replies = await asyncio.gather(*asking, *drawing)
        assert {reply.status_code for reply in replies} == {200}
        for reply, row in zip(replies, offline, strict=False):
            (answer,) = reply.json()["answers"]
            assert row.outcome is not None
            given = np.array(answer["probabilities"], np.float32)
            assert given.tobytes() == row.outcome.outputs["probabilities"].tobytes()

    play(script, route)


@pytest.mark.parametrize("accept", ["image/png, */*", "image/png;q=0, application/*", "*/*", ""])
def test_a_route_that_draws_nothing_answers_json_where_that_is_accepted(
    accept: str, tmp_path: Path
) -> None:
    async def script(scene: Scene) -> None:
        await scene.explain(TINY, content=encode(make_pictures(1)[0]), headers={"Accept": accept})

    play(script, load(write_cbnet, tmp_path))
