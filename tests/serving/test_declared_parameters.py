"""Parameters that a route declares, from stock clients at both endpoints to the route's stage."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.grpc.aio as triton_grpc
import tritonclient.http.aio as triton_http
from tritonclient.utils import InferenceServerException

from cache.local_cache import LocalCache
from core.devices.onnx import OnnxDevice
from core.manifest import Manifest
from core.messages import Batch, Outcome, Step
from core.parameters import RESERVED
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.grpc.endpoint import GrpcEndpoint
from serving.http.endpoint import HttpEndpoint
from serving.oip.tensors import _KNOWN
from serving.process.http_server import HttpServer
from serving.settings import EngineSettings, ServerSettings
from serving.warmup import warm_up
from tests.fakes.toys import ToyPipeline
from tests.serving.endpoint_client import INFER, make_png, visit
from tests.serving.small_engine import SmallEngine, make_manifest

PARAMETERS: dict[str, Any] = {
    "style": {"type": "string", "default": "plain", "max_length": 8},
    "top": {"type": "integer", "default": 3, "min": 1, "max": 9},
    "stop": {"type": "strings", "default": [], "max_items": 2},
}
DEFAULT = "x|plain|3|"


class EchoStage:
    """Answers each row with its text and the values of its parameters."""

    name = "echo"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, rows: Batch) -> Sequence[Step]:
        assert rows.controls["top"].dtype == np.int64
        columns = [rows.controls[name].tolist() for name in ("style", "top", "stop")]
        texts = np.asarray(rows.inputs["text"]).reshape(-1).tolist()
        answers = [
            f"{text}|{style}|{top}|{','.join(stop)}"
            for text, style, top, stop in zip(texts, *columns, strict=True)
        ]
        self.batches.append(answers)
        assert self.gate.wait(10.0)
        outputs = [{"answer": np.asarray(one, dtype=object)} for one in answers]
        return [Step(1, Outcome(one, 0.9, self.name), None) for one in outputs]


def serve(stage: EchoStage) -> ServedRoute:
    manifest = Manifest.model_validate(
        {
            "format": 1,
            "route": "echo",
            "version": "1",
            "task": "echoes",
            "pipeline": "echo",
            "expected_macs": 1.0,
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "answer", "datatype": "BYTES", "shape": [-1]}],
            "parameters": PARAMETERS,
            "stages": [{"name": "echo", "file": "echo.onnx", "macs": 1}],
            "files": {},
            "provenance": {},
        }
    )
    counts = Metrics().add_route("echo", ["echo"])
    return ServedRoute(manifest, ToyPipeline("echo", {"echo": stage}), counts)


class Http:
    """A stock client of the HTTP endpoint."""

    binary = True

    def __init__(self, port: int) -> None:
        self.client = triton_http.InferenceServerClient(f"127.0.0.1:{port}")

    async def ask(self, *texts: str, **parameters: Any) -> list[str]:
        tensor = triton_http.InferInput("text", [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=self.binary)
        wanted = [triton_http.InferRequestedOutput("answer", binary_data=self.binary)]
        result = await self.client.infer("echo", [tensor], outputs=wanted, parameters=parameters)
        return [_text(one) for one in result.as_numpy("answer")]


class HttpJson(Http):
    binary = False


class Grpc:
    """A stock client of the gRPC endpoint, which has no lists: they are JSON text."""

    def __init__(self, port: int) -> None:
        self.client = triton_grpc.InferenceServerClient(f"127.0.0.1:{port}")

    async def ask(self, *texts: str, **parameters: Any) -> list[str]:
        tensor = triton_grpc.InferInput("text", [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, dtype=object))
        for name, value in parameters.items():
            if isinstance(value, list):
                parameters[name] = str(value).replace("'", '"')
        result = await self.client.infer("echo", [tensor], parameters=parameters)
        return [_text(one) for one in result.as_numpy("answer")]


Client = Http | Grpc
Script = Callable[[Mapping[str, Client], EchoStage, Engine], Awaitable[None]]


def _text(item: bytes | str) -> str:
    return item.decode() if isinstance(item, bytes) else item


def play(script: Script) -> None:
    """Run a script with stock clients of both endpoints, in front of one engine."""

    async def main() -> None:
        stage = EchoStage()
        engine = Engine(
            Catalog([serve(stage)]), EngineSettings(), LocalCache(1 << 20), OnnxDevice()
        )
        web = HttpEndpoint(engine, ServerSettings(), Metrics())
        server = HttpServer(web)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.open(listener)
        settings = ServerSettings.model_validate({"grpc_port": 0, "drain_s": 0})
        rpc = GrpcEndpoint(engine, settings, Metrics())
        grpc_port, http_port = await rpc.start(), listener.getsockname()[1]
        clients: dict[str, Client] = {
            "http": Http(http_port),
            "http json": HttpJson(http_port),
            "grpc": Grpc(grpc_port),
        }
        try:
            await script(clients, stage, engine)
        finally:
            for one in clients.values():
                await one.client.close()
            await rpc.drain(1.0)
            await server.close(1.0)
            web.close()
            engine.close()

    asyncio.run(main())


def test_values_reach_the_stage_from_both_endpoints_and_hit_the_cache_when_they_are_equal() -> None:
    given: dict[str, Any] = {"style": "bold", "top": 5, "stop": ["a", "b"]}

    async def script(clients: Mapping[str, Client], stage: EchoStage, engine: Engine) -> None:
        for client in clients.values():
            assert await client.ask("x") == [DEFAULT]
            assert await client.ask("x", **given) == ["x|bold|5|a,b"]
            assert await client.ask("x", top="5", stop=["a", "b"], style="bold", other=1) == [
                "x|bold|5|a,b"
            ]
            assert await client.ask("x", top=3, style="plain", stop=[]) == [DEFAULT]
            assert await client.ask("x", stop=["a,b"]) == ["x|plain|3|a,b"]
        assert sorted(chain.from_iterable(stage.batches)) == [
            "x|bold|5|a,b", "x|plain|3|", "x|plain|3|a,b",
        ]  # fmt: skip
        await clients["grpc"].ask("x", stop=["a", "b"])  # not the same list
        await clients["http"].ask("x", top=4)
        assert len(stage.batches) == 5

    play(script)


def test_rows_of_one_batch_carry_the_values_of_their_own_requests() -> None:
    async def script(clients: Mapping[str, Client], stage: EchoStage, engine: Engine) -> None:
        stage.gate.clear()
        first = asyncio.create_task(clients["http"].ask("first"))
        await until(lambda: bool(stage.batches))
        asking = [
            asyncio.create_task(clients["http"].ask("x", "y", top=4)),
            asyncio.create_task(clients["grpc"].ask("x", style="bold")),
            asyncio.create_task(clients["http json"].ask("z", stop=["a", "b"])),
            asyncio.create_task(clients["grpc"].ask("z")),
        ]
        await until(lambda: engine.catalog.resolve("echo", None).entry.rows == 5)
        stage.gate.set()
        await first
        assert await asyncio.gather(*asking) == [
            ["x|plain|4|", "y|plain|4|"],
            ["x|bold|3|"],
            ["z|plain|3|a,b"],
            ["z|plain|3|"],
        ]
        assert len(stage.batches) == 2
        assert len(stage.batches[1]) == 5

    play(script)


@pytest.mark.parametrize("endpoint", ["http", "http json", "grpc"])
@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"top": 10}, "parameters.top: given 10, allowed an integer from 1 to 9"),
        ({"top": "many"}, "parameters.top: given 'many', allowed an integer from 1 to 9"),
        ({"top": True}, "parameters.top: given True, allowed an integer from 1 to 9"),
        ({"style": 3}, "parameters.style: given 3, allowed a string of at most 8 characters"),
        ({"style": "x" * 99}, "parameters.style: given str of length 99, allowed a string"),
        ({"stop": "a"}, "parameters.stop: given 'a', allowed a list of at most 2 strings of"),
        ({"stop": '["a", "b", "c"]'}, "allowed a list of at most 2 strings of at most 256"),
    ],
)
def test_a_bad_value_is_refused_with_one_sentence(
    endpoint: str, parameters: dict[str, Any], sentence: str
) -> None:
    async def script(clients: Mapping[str, Client], stage: EchoStage, engine: Engine) -> None:
        with pytest.raises(InferenceServerException) as refused:
            await clients[endpoint].ask("x", **parameters)
        assert sentence in str(refused.value)
        assert str(refused.value.status()).endswith(("400", "INVALID_ARGUMENT"))
        assert not stage.batches

    play(script)


def test_a_picture_takes_them_from_its_query() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        path = "/v1/routes/small/predict"
        query = {"top": "4", "stop": '["a", "b"]', "style": "7", "other": "x"}
        assert (await client.post(path, params=query, content=make_png())).is_success
        assert engine.requests[0].controls == {"top": 4, "stop": ("a", "b"), "style": "7"}
        bad = await client.post(path, params={"top": "0"}, content=make_png())
        assert bad.json()["error"] == "parameters.top: given '0', allowed an integer from 1 to 9"

    visit(script, lambda: SmallEngine(make_manifest(parameters=PARAMETERS)))


def test_a_repeated_header_keeps_its_own_values() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        size = {"binary_data_size": 6}
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "parameters": size}
        for top in (4, 5, 4, 5):
            header = orjson.dumps({"inputs": [tensor], "parameters": {"top": top, "stop": ["a"]}})
            length = {"Inference-Header-Content-Length": str(len(header))}
            reply = await client.post(INFER, content=header + bytes(6), headers=length)
            assert reply.is_success
            assert engine.requests[-1].controls == {"top": top, "stop": ("a",)}

    visit(script, lambda: SmallEngine(make_manifest(parameters=PARAMETERS)))


def test_what_a_route_declares_stands_in_its_metadata() -> None:
    async def script(clients: Mapping[str, Client], stage: EchoStage, engine: Engine) -> None:
        client = clients["http"].client
        top = {"type": "integer", "minimum": 1, "maximum": 9, "default": 3}
        routes = await (await client._get("v1/routes", None, None)).json()
        assert routes["routes"][0]["parameters"]["top"] == top
        document = await (await client._get("openapi.json", None, None)).json()
        declared = document["components"]["schemas"]["Parameters.echo"]
        assert set(declared["properties"]) == set(PARAMETERS)
        assert declared["properties"]["top"] == top

    play(script)


def test_a_route_with_parameters_is_warmed_up_with_their_defaults() -> None:
    stage = EchoStage()
    warm_up(serve(stage), OnnxDevice())
    assert {answer for batch in stage.batches for answer in batch} == {"|plain|3|"}


def test_a_route_cannot_declare_what_the_server_reads_itself() -> None:
    assert _KNOWN < RESERVED
