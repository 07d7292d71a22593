"""The HTTP endpoint as its clients see it."""

import asyncio
import base64
import contextlib
import logging
import socket
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import uvicorn

from core.errors import DeadlineExceeded, Overloaded, StageFailed
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.settings import ServerSettings
from tests.serving.endpoint_client import BRIGHT, INFER, ask, make_png, visit
from tests.serving.small_engine import SmallEngine, make_manifest


def test_json_tensors_are_answered() -> None:
    answer = ask("POST", INFER, content=BRIGHT)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model_name"], body["model_version"]) == ("small", "2")
    label, probabilities = body["outputs"]
    assert (label["data"], probabilities["shape"]) == ([1], [1, 2])
    assert probabilities["data"] == pytest.approx([0.2, 0.8])


def test_binary_tensors_are_answered_in_binary() -> None:
    table = orjson.loads(BRIGHT)
    del table["inputs"][0]["data"]
    table["inputs"][0]["parameters"] = {"binary_data_size": 6}
    table["parameters"] = {"binary_data_output": True}
    header = orjson.dumps(table)
    answer = ask(
        "POST",
        "/v2/models/small/versions/1/infer",
        content=header + bytes([204] * 6),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert orjson.loads(answer.content[:length])["model_version"] == "1"
    assert np.frombuffer(answer.content[length:][:8], np.int64).tolist() == [1]
    assert np.frombuffer(answer.content[length:][8:], np.float32)[1] == np.float32(0.8)


@pytest.mark.parametrize("route", ["small", "auto:shades"])
def test_a_picture_is_answered_with_its_facts(route: str) -> None:
    answer = ask("POST", f"/v1/routes/{route}/predict?timeout_ms=5000", content=make_png())
    assert answer.status_code == 200
    body = answer.json()
    (one,) = body.pop("answers")
    assert body == {
        "route": "small",
        "version": "2",
        "digest": "ab" * 32,
        "energy_source": "none",
        "certificate": "none",
    }
    assert one.pop("probabilities") == pytest.approx([0.2, 0.8])
    top = one.pop("top")
    assert [label.pop("probability") for label in top] == pytest.approx([0.8, 0.2])
    assert top == [{"label_name": "bright", "label": 1}, {"label_name": "dark", "label": 0}]
    assert one == {
        "label": 1,
        "label_name": "bright",
        "confidence": 0.8,
        "exit": "shade",
        "stopped_by": "last_stage",
        "cached": False,
        "macs": 7,
        "energy_mj": None,
        "latency_ms": 2.0,
    }


def test_a_list_of_pictures_is_answered_in_its_order() -> None:
    pictures = [base64.b64encode(make_png(shade)).decode() for shade in (0, 255, 0)]
    answer = ask("POST", "/v1/routes/small/predict", json=pictures)
    assert [one["label"] for one in answer.json()["answers"]] == [0, 1, 0]


@pytest.mark.parametrize(
    ("asked", "listed", "whole"), [("1", [1], False), ("100", [1, 0], False), ("all", [], True)]
)
def test_a_picture_gets_as_many_labels_as_it_asks_for(
    asked: str, listed: list[int], whole: bool
) -> None:
    answer = ask("POST", f"/v1/routes/small/predict?top_k={asked}", content=make_png())
    (one,) = answer.json()["answers"]
    assert [label["label"] for label in one.get("top", [])] == listed
    assert ("probabilities" in one) == whole


@pytest.mark.parametrize("asked", ["0", "101", "-1", "1.5", "", "ALL", "9" * 99])
def test_another_number_of_labels_is_refused_in_one_sentence(asked: str) -> None:
    answer = ask("POST", f"/v1/routes/small/predict?top_k={asked}", content=make_png())
    assert answer.status_code == 400
    sentence = answer.json()["error"]
    assert sentence.startswith("parameters.top_k: given ")
    assert sentence.endswith("allowed 1 to 100 or 'all'")


def test_query_parameters_reach_the_engine() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        path = "/v1/routes/small/predict"
        query = {"min_confidence": "0.5", "no_cache": "true", "version": "1", "other": "x"}
        await client.post(path, params=query, content=make_png())
        (request,) = engine.requests
        assert (request.version, request.no_cache) == ("1", True)
        assert dict(request.controls) == {"min_confidence": 0.5}
        bad = await client.post(path, params={"timeout_ms": "1e999"}, content=make_png())
        assert (bad.status_code, bad.json()["error"][:22]) == (400, "parameters.timeout_ms:")

    visit(script)


def test_a_route_without_pictures_and_one_with_a_channel_dimension() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        refused = await client.post("/v1/routes/blind/predict", content=make_png())
        assert refused.status_code == 400 and "takes no pictures" in refused.json()["error"]
        assert (await client.post("/v1/routes/deep/predict", content=make_png())).is_success
        assert engine.requests[0].inputs["image"].shape == (1, 2, 3, 1)

    deep = [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3, 1]}]
    manifests = make_manifest(route="blind", picture=None), make_manifest(route="deep", inputs=deep)
    visit(script, lambda: SmallEngine(*manifests))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/small/versions/9", 404),
        ("GET", "/v2/models/small/versions", 404),
        ("GET", "/v2/models/small/config", 404),
        ("GET", "/v2/models//ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v1/routes/other/predict", 404),
        ("POST", "/v1/routes/auto:other/predict", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("DELETE", "/v1/routes", 405),
        ("PUT", "/v1/routes/small/predict", 405),
    ],
)
def test_unknown_paths_routes_and_methods_are_refused(method: str, path: str, status: int) -> None:
    answer = ask(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert ("allow" in answer.headers) == (status == 405)


def test_random_names_fill_no_memory_and_no_metrics() -> None:
    async def run() -> None:
        metrics = Metrics()
        endpoint = HttpEndpoint(SmallEngine(), ServerSettings(), metrics)
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            for name in range(300):
                await client.post(f"/v2/models/random{name}/infer", content=BRIGHT)
                await client.get(f"/random{name}")
            assert not any("random" in path for path in endpoint._places)
            assert "random" not in (await client.get("/metrics")).text

    asyncio.run(run())


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Overloaded("full", 2.5), 429),
        (DeadlineExceeded("late"), 504),
        (StageFailed("broken"), 500),
        (RuntimeError("/secret/path"), 500),
    ],
)
def test_failures_have_their_status_and_show_nothing_inside(
    failure: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "sparing.http")
    answer = ask("POST", INFER, content=BRIGHT, failure=failure)
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"x" * 1001, {}, 413),
        (b"x" * 10, {"Content-Length": "9999999999"}, 413),
        (BRIGHT, {"Content-Encoding": "gzip"}, 415),
        (BRIGHT, {"Inference-Header-Content-Length": "9999"}, 400),
        (b"[" * 900, {}, 400),
        (b"", {}, 400),
    ],
)
def test_hostile_bodies_are_refused(content: bytes, headers: dict[str, str], status: int) -> None:
    for path in (INFER, "/v1/routes/small/predict"):
        if path == INFER or "Inference-Header-Content-Length" not in headers:
            answer = ask(
                "POST", path, content=content, headers=headers, limits={"max_body_bytes": 1000}
            )
            assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_bodies_in_flight_are_bounded_and_released() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        engine.gate.clear()
        first = asyncio.create_task(client.post(INFER, content=BRIGHT))
        while not engine.requests:
            await asyncio.sleep(0)
        second = await client.post(INFER, content=BRIGHT)
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        engine.gate.set()
        assert (await first).status_code == 200
        assert (await client.post(INFER, content=BRIGHT)).status_code == 200

    visit(script, max_body_bytes_in_flight=len(BRIGHT) + 10)


async def serve(engine: SmallEngine) -> tuple[uvicorn.Server, asyncio.Task[None], int]:
    """A real server on a free port of this machine."""
    endpoint = HttpEndpoint(engine, ServerSettings(), Metrics())
    config = uvicorn.Config(
        AsgiApplication(endpoint),
        http="httptools",
        log_level="critical",
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    return server, task, listener.getsockname()[1]


def test_under_a_real_server_answers_arrive_and_a_leaving_client_cancels_its_call() -> None:
    async def run() -> None:
        engine = SmallEngine()
        server, serving, port = await serve(engine)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post(INFER, content=BRIGHT)
            assert answer.json()["outputs"][0]["data"] == [1]
            large = await client.post(INFER, content=b"x" * (17 * 2**20))
            assert large.status_code == 413

            engine.gate.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BRIGHT)}\r\n\r\n"
            writer.write(head.encode() + BRIGHT)
            patient = asyncio.create_task(client.post(INFER, content=BRIGHT))
            await until(lambda: len(engine.requests) == 3)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            await asyncio.wait_for(engine.cancelled.wait(), 10)
            engine.gate.set()
            assert (await patient).status_code == 200
            del reader
        server.should_exit = True
        await serving

    asyncio.run(run())


def test_a_request_cut_off_by_the_end_of_a_shutdown_is_told_so() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": BRIGHT}

    async def run() -> None:
        engine = SmallEngine()
        engine.gate.clear()
        endpoint = HttpEndpoint(engine, ServerSettings(), Metrics())
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": INFER, "client": None}
        scope |= {"headers": [], "query_string": b""}
        task = asyncio.create_task(AsgiApplication(endpoint)(scope, receive, send))
        while not engine.requests:
            await asyncio.sleep(0)
        engine.draining = True
        task.cancel()
        await task

    asyncio.run(run())
    assert sent[0]["status"] == 503
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"server: it shuts down" in sent[1]["body"]
