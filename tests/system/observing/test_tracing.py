"""Followed requests through both real endpoints of a real server, as a collector gets them."""

import base64
import http.client
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import tritonclient.grpc as triton
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from harness.live_server import LiveServer
from harness.load.traffic import encode_png
from harness.tiny_routes import make_pictures, make_poison, write_route
from tests.servers.otlp_receiver import OtlpReceiver
from tests.servers.traced import (
    COMPUTED,
    INFER,
    PICTURES,
    RECALLED,
    Scene,
    check,
    make_tensor,
    new_trace,
    settings,
    write_body,
    write_traceparent,
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    models = tmp_path_factory.mktemp("models")
    write_route(
        models, thresholds=[1.0], combine="last", poison=True
    )  # everything goes through both stages
    with (
        OtlpReceiver() as receiver,
        LiveServer(models, settings(receiver.endpoint, 0.0)) as server,
    ):
        yield Scene(server, receiver)


FACTS: dict[str, str | int] = {"route": "tiny", "version": "1", "rows": 1}
TO_THE_END: dict[str, str | int] = {**FACTS, "exit": "stage1", "stopped_by": "last_stage"}
FROM_MEMORY: dict[str, str | int] = {**TO_THE_END, "stopped_by": "cache"}


def test_http_requests_are_followed_on_their_ordinary_way_at_the_connection_and_from_memory(
    scene: Scene,
) -> None:
    first, second = write_body(next(PICTURES)), write_body(next(PICTURES))
    check(scene.follow(INFER, first), COMPUTED, **TO_THE_END)  # may be the address's first
    root = check(scene.follow(INFER, second), COMPUTED, **TO_THE_END)
    assert not root.failed
    check(scene.follow(INFER, second), RECALLED, **FROM_MEMORY)
    assert scene.receiver.resource["service.name"] == "sparing"


def test_stages_carry_their_names_and_batches(scene: Scene) -> None:
    spans = scene.follow(INFER, write_body(next(PICTURES)))
    stages = [span for span in spans if span.name.startswith("stage ")]
    assert [span.facts for span in stages] == [
        {"stage": name, "rows": 1, "batch_rows": 1} for name in ("stage0", "stage1")
    ]
    assert stages[0].ended_ns <= stages[1].began_ns


def test_a_picture_is_followed(scene: Scene) -> None:
    picture = encode_png(next(PICTURES))
    check(scene.follow("/v1/routes/tiny/predict", picture), COMPUTED, **TO_THE_END)


def test_grpc_calls_are_followed_by_their_metadata(scene: Scene) -> None:
    picture = next(PICTURES)
    with triton.InferenceServerClient(scene.server.grpc_address) as client:
        for names, facts in ((COMPUTED, TO_THE_END), (RECALLED, FROM_MEMORY)):
            trace = new_trace()
            headers = {"traceparent": write_traceparent(trace)}
            client.infer("tiny", [make_tensor(picture)], headers=headers)
            check(scene.receiver.wait_for(trace), names, **facts)


def test_a_request_of_a_stream_is_followed(scene: Scene) -> None:
    got: queue.Queue[tuple[Any, Any]] = queue.Queue()
    trace = new_trace()
    with triton.InferenceServerClient(scene.server.grpc_address) as client:
        headers = {"traceparent": write_traceparent(trace)}
        client.start_stream(lambda result, error: got.put((result, error)), headers=headers)
        client.async_stream_infer("tiny", [make_tensor(next(PICTURES))])
        for _ in range(2):  # one a stage
            assert got.get(timeout=20.0)[1] is None
        check(scene.receiver.wait_for(trace), COMPUTED, **TO_THE_END)


def test_several_rows_are_told_together(scene: Scene) -> None:
    files = [encode_png(next(PICTURES)) for _ in range(3)]
    known = encode_png(make_pictures(1, seed=31)[0])
    scene.follow("/v1/routes/tiny/predict", known)
    body = orjson.dumps([base64.b64encode(file).decode() for file in [*files, known]])
    facts = {**TO_THE_END, "rows": 4, "stopped_by": "cache,last_stage"}
    spans = scene.follow("/v1/routes/tiny/predict", body)
    check(spans, COMPUTED, **facts)
    assert [span.facts["rows"] for span in spans if span.name == "queue"] == [3, 3]


def test_refusals_and_failures_are_followed_and_say_their_class_alone(scene: Scene) -> None:
    secret = "inputs-are-nobodys-business"
    poison = write_body(make_poison(), no_cache=True)
    expected = {
        "InvalidInput": (INFER, orjson.dumps({"inputs": secret}), 400),
        "StageFailed": (INFER, poison, 500),
        "DeadlineExceeded": (INFER, write_body(next(PICTURES), timeout_ms=0), 504),
    }
    for name, (path, body, status) in expected.items():
        (root,) = [span for span in scene.follow(path, body, status) if span.of_server]
        assert root.failed
        assert root.facts["error.type"] == name
        assert root.message == ""
    assert not any(secret.encode() in body for body in scene.receiver.bodies)


def test_a_grpc_call_that_is_refused_is_followed(scene: Scene) -> None:
    trace = new_trace()
    with (
        triton.InferenceServerClient(scene.server.grpc_address) as client,
        pytest.raises(InferenceServerException),
    ):
        client.infer(
            "absent",
            [make_tensor(next(PICTURES))],
            headers={"traceparent": write_traceparent(trace)},
        )
    (root,) = scene.receiver.wait_for(trace)
    assert root.facts == {"error.type": "UnknownRoute"}


def test_who_is_not_followed_leaves_nothing(scene: Scene) -> None:
    before = {span.trace_id for span in scene.receiver.spans()}
    trace = new_trace()
    for traceparent in ("", write_traceparent(trace, flags="00"), "no-such-thing"):
        assert scene.post(INFER, write_body(next(PICTURES)), traceparent)[0] == 200
    scene.follow(INFER, write_body(next(PICTURES)))  # sent behind them
    after = {span.trace_id for span in scene.receiver.spans()}
    assert len(after - before) == 1
    assert trace not in after


@pytest.mark.parametrize(
    "traceparent",
    ["x" * 5000, "00-zz-zz-zz", write_traceparent("0" * 32), "\xe9\xff", "00-" * 100, "-" * 55],
)
def test_a_bad_traceparent_harms_no_request(scene: Scene, traceparent: str) -> None:
    for _ in range(2):
        assert scene.post(INFER, write_body(next(PICTURES)), traceparent)[0] == 200
    with triton.InferenceServerClient(scene.server.grpc_address) as client:
        if traceparent.isascii():  # as gRPC wants metadata
            client.infer(
                "tiny", [make_tensor(next(PICTURES))], headers={"traceparent": traceparent}
            )


def test_followed_requests_are_examples_of_their_latency(scene: Scene) -> None:
    trace = new_trace()
    body = write_body(next(PICTURES), no_cache=True)
    assert scene.post(INFER, body, write_traceparent(trace))[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", scene.server.http_port, timeout=20)
    connection.request(
        "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    found = [
        (sample.name, sample.labels["route"], sample.labels["exit"])
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None and sample.exemplar.labels == {"trace_id": trace}
    ]
    assert found == [("sparing_latency_seconds_bucket", "tiny", "stage1")]
    assert trace not in scene.server.get("/metrics").decode()


def test_without_a_collector_every_request_is_answered_and_the_end_is_in_time(
    tmp_path: Path,
) -> None:
    write_route(tmp_path)
    with LiveServer(tmp_path, settings("http://127.0.0.1:9/v1/traces", 1.0)) as server:
        lone = Scene(server, OtlpReceiver())
        lone.receiver._server.server_close()
        body = write_body(next(PICTURES))
        assert [lone.post(INFER, body)[0] for _ in range(200)] == [200] * 200
        assert server.stop() == 0


def test_each_of_several_workers_sends_its_own(tmp_path: Path) -> None:
    write_route(tmp_path)
    with (
        OtlpReceiver() as receiver,
        LiveServer(tmp_path, settings(receiver.endpoint, 1.0) + "[workers]\ncount = 2\n") as server,
    ):
        both = Scene(server, receiver)
        traces = [new_trace() for _ in range(20)]
        for trace in traces:
            body = write_body(next(PICTURES))
            assert both.post(INFER, body, write_traceparent(trace))[0] == 200
        assert server.stop() == 0
        assert set(traces) <= {span.trace_id for span in receiver.spans()}
