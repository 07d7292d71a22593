"""The access log and request ids of a real server, in JSON, on both endpoints."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2

from harness.live_server import ROOT, LiveServer
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import wait_until
from tests.clients.load import BODIES

SETTINGS = """
[server]
access_log = true
bearer_token = "s3cret"
[log]
format = "json"
"""
TOKEN = {"Authorization": "Bearer s3cret"}
INFER = "/v2/models/tiny/infer"
PARENT = f"00-{'ab' * 16}-{'cd' * 8}-00"
Line = dict[str, Any]  # JSON values
CALLER = "address 127.0.0.1"
IDENTIFIED = {**TOKEN, "X-Request-Id": "r 1", "traceparent": PARENT}
METADATA = (("authorization", "Bearer s3cret"), ("x-request-id", "r2"), ("traceparent", PARENT))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[LiveServer]:
    with LiveServer(models, SETTINGS) as live:
        yield live


def read_lines(server: LiveServer) -> list[Line]:
    """The log, each line of which is an object."""
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def find_line(server: LiveServer, *, after: Callable[[], object], **facts: object) -> Line:
    """The only line that these facts are in and that what is done here writes."""
    before = len(read_lines(server))
    after()

    def find() -> list[Line]:
        return [one for one in read_lines(server)[before:] if facts.items() <= one.items()]

    wait_until(lambda: bool(find()), f"no line with {facts}")
    [line] = find()
    assert line["ms"] >= 0.0
    return line


def make_message() -> bytes:
    pictures = make_pictures(2)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="UINT8", shape=pictures.shape)
    request.raw_input_contents.append(pictures.tobytes())
    return request.SerializeToString()  # type: ignore[no-any-return]


def test_an_answered_http_request_is_one_line_with_its_facts(server: LiveServer) -> None:
    replies = []
    with httpx.Client(base_url=server.url) as client:

        def ask() -> None:
            replies.append(client.post(INFER, content=BODIES[0], headers=IDENTIFIED))

        for _ in range(2):  # the second from the cache, with a head that is known
            line = find_line(server, after=ask, path=INFER)
            assert line["message"] == "request"
            assert line["logger"] == "sparing.access"
            assert {key: line[key] for key in ("protocol", "method", "status", "rows")} == {
                "protocol": "http",
                "method": "POST",
                "status": 200,
                "rows": 1,
            }
            assert line["route"] == "tiny"
            assert line["exit"] in {"stage0", "stage1"}
            assert (line["request_id"], line["trace_id"]) == ("r 1", "ab" * 16)
            assert line["caller"] == CALLER
    assert [one.headers.get("x-request-id") for one in replies] == ["r 1"] * 2
    assert [one.status_code for one in replies] == [200] * 2


def test_other_http_requests_have_a_line_too(server: LiveServer) -> None:
    def ask(path: str, **options: Any) -> Callable[[], object]:
        return lambda: httpx.get(server.url + path, **options)

    assert find_line(server, after=ask("/livez"), path="/livez")["status"] == 200
    line = find_line(server, after=ask("/nothing", headers=TOKEN), path="/nothing")
    assert line["status"] == 404
    no_id = {"X-Request-Id": "x" * 129}
    line = find_line(server, after=ask("/metrics", headers=no_id), path="/metrics")
    assert (line["status"], line["caller"]) == (401, CALLER)
    assert "request_id" not in line
    assert find_line(server, after=ask("/livez", headers={"Host": "a b"}), status=400)
    assert "s3cret" not in server.log.read_text()


def test_a_grpc_call_is_one_line_and_gets_its_id_back(server: LiveServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        ended: list[grpc.Call] = []

        def ask() -> None:
            ended.append(infer.with_call(make_message(), metadata=METADATA)[1])

        line = find_line(server, after=ask, method="ModelInfer")
        assert (line["status"], line["rows"], line["route"]) == ("OK", 2, "tiny")
        assert (line["request_id"], line["trace_id"]) == ("r2", "ab" * 16)
        assert line["caller"] == CALLER
        assert ("x-request-id", "r2") in [*ended[0].trailing_metadata()]

        def ask_wrongly() -> None:
            with pytest.raises(grpc.RpcError) as refusal:
                infer(b"\xff", metadata=METADATA)
            assert ("x-request-id", "r2") in [*refusal.value.trailing_metadata()]

        assert find_line(server, after=ask_wrongly, status="INVALID_ARGUMENT")["request_id"] == "r2"

        def ask_without_a_token() -> None:
            with pytest.raises(grpc.RpcError):
                infer(make_message())

        line = find_line(server, after=ask_without_a_token, status="UNAUTHENTICATED")
        assert (line["method"], line["caller"]) == ("ModelInfer", CALLER)


def test_each_request_of_a_stream_is_a_line(server: LiveServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

        def ask(raw: bytes) -> Callable[[], object]:
            return lambda: [*stream(iter([raw]), metadata=METADATA)]

        line = find_line(server, after=ask(make_message()), method="ModelStreamInfer")
        assert (line["status"], line["rows"], line["request_id"]) == ("OK", 2, "r2")
        line = find_line(server, after=ask(b"\xff"), method="ModelStreamInfer")
        assert (line["status"], line["caller"]) == ("INVALID_ARGUMENT", CALLER)


def test_without_an_access_log_only_refused_tokens_are_logged_and_ids_come_back(
    models: Path,
) -> None:
    with LiveServer(models, '[server]\nbearer_token = "s3cret"\n') as plain:
        assert httpx.get(f"{plain.url}/v2").status_code == 401
        reply = httpx.post(plain.url + INFER, content=BODIES[0], headers=IDENTIFIED)
        assert (reply.status_code, reply.headers["x-request-id"]) == (200, "r 1")
        reply = httpx.post(plain.url + INFER, content=BODIES[0], headers=TOKEN)
        assert "x-request-id" not in reply.headers
        with grpc.insecure_channel(plain.grpc_address) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            infer(make_message(), metadata=METADATA)
            with pytest.raises(grpc.RpcError):
                infer(make_message())
        assert plain.stop() == 0
        text = plain.log.read_text()
    assert text.count("the token is missing or wrong protocol=http caller=") == 1
    assert text.count("the token is missing or wrong protocol=grpc caller=") == 1
    assert "sparing.access: request" not in text


def serve(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sparing.cli", "serve", "--log-format", "json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_cannot_start_says_so_in_json(tmp_path: Path, workers: str) -> None:
    ports = ["--http-port", "0", "--grpc-port", "0", "--workers", workers]
    done = serve(tmp_path, "--models", str(tmp_path), *ports)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert line["level"] == "ERROR"
    assert "no route could be loaded" in line["message"]
    done = serve(tmp_path, "--settings", str(tmp_path / "absent.toml"))
    assert done.returncode == 2
    assert "absent.toml: No such file" in json.loads(done.stderr)["message"]


def test_several_processes_write_one_log_in_json(models: Path) -> None:
    with LiveServer(models, f"{SETTINGS}[workers]\ncount = 2\n") as live:
        assert httpx.post(live.url + INFER, content=BODIES[0], headers=TOKEN).status_code == 200
        assert live.stop() == 0
        lines = read_lines(live)
    assert {line.get("worker") for line in lines if line["message"] == "draining"} == {1, 2}
    [request] = [line for line in lines if line["message"] == "request"]
    assert request["worker"] in {1, 2}
