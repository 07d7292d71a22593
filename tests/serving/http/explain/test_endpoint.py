"""The explain endpoint: every kind of route, the ways in which a row stops, and what is refused."""

import base64
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.messages import Step
from harness.tiny_routes import make_pictures, make_poison, write_route
from monitoring.access_log import AccessLog
from monitoring.log_lines import find_fields
from monitoring.metrics.collector import Metrics
from monitoring.tracing.sampling import Sampling
from monitoring.tracing.traces import SampledTrace
from routes.offline import run_offline
from tests.fakes.tiny_kinds import write_cbnet, write_encoder_only, write_exits, write_gated
from tests.fakes.toys import ToyStage, cascade, final, serve_toy
from tests.serving.http.explain.scene import (
    PNG,
    TINY,
    TOY,
    Scene,
    check_shape,
    encode,
    load,
    play,
    toy,
    write_binary,
    write_json,
)

Make = Callable[[Path], Path]
KINDS: dict[str, Make] = {
    "dual-cnn": lambda root: write_route(root, stages=3, poison=True),
    "single": lambda root: write_route(root, stages=1, pipeline="single", poison=True),
    "exits": write_exits,
    "cbnet": write_cbnet,
    "cbnet-gated": write_gated,
    "encoder-only": write_encoder_only,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_path_is_the_one_that_the_row_takes_without_a_server(kind: str, tmp_path: Path) -> None:
    route = load(KINDS[kind], tmp_path)
    pictures = make_pictures(12, seed=5)
    rows = run_offline(route.pipeline, {"image": pictures}, OnnxDevice())

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
        assert reply.json()["error"] == "pictures: given 2, allowed 1"
        assert reply.status_code == 400
        reply = await scene.client.post(TOY, content=toy(3, 4))
        assert reply.json()["error"] == "inputs: given 2 rows, allowed 1 that is explained"
        assert (await scene.client.post("/v1/routes/other/explain", content=b"")).status_code == 404
        assert (await scene.client.get(TINY)).status_code == 405

    play(
        script,
        load(write_route, tmp_path),
        serve_toy(ToyStage("only", lambda x: final(x, "only"))),
    )


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


def test_the_access_log_says_what_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def script(scene: Scene) -> None:
        await scene.explain(TOY, content=toy(3))

    with caplog.at_level(logging.INFO, "sparing.access"):
        play(script, serve_toy(ToyStage("only", lambda x: final(x, "only"))), access=AccessLog())
    (record,) = caplog.records
    fields = find_fields(record)
    assert (fields["route"], fields["exit"], fields["rows"]) == ("toy", "only", 1)
    assert "trace_id" not in fields


def test_the_task_of_a_route_finds_it_here_too() -> None:
    async def script(scene: Scene) -> None:
        facts = await scene.explain("/v1/routes/auto:toys/explain", content=toy(2))
        assert (facts["route"], facts["stages"][0]["stage"]) == ("toy", "light")

    play(script, serve_toy(*cascade()))
