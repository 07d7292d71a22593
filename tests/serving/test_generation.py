"""The toy generator through the whole server: tokens over HTTP, and as a stream over gRPC."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import grpc
import httpx
import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from core.devices.torch import TorchDevice
from harness.tiny_routes import make_pictures
from harness.waiting import until
from routes import loading
from routes.loading import load_route
from routes.offline import run_offline
from routes.table import PIPELINES
from serving.assembly import Assembly, assemble
from serving.http.asgi import AsgiApplication
from serving.settings import Settings
from tests.fakes import generator

INFER = f"/v2/models/{generator.KIND}/infer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PICTURES = make_pictures(24)

Use = Callable[[Assembly, Sequence[list[int]]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _with_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {**PIPELINES, generator.KIND: generator.build}
    monkeypatch.setattr(loading, "PIPELINES", kinds)


def serve(root: Path, use: Use, *, rows: int = 1000) -> generator.Decode:
    """Serve the generator, with memory for the states of `rows` rows; return its second stage."""
    directory = generator.write_generator(root)
    device = TorchDevice()
    offline = run_offline(load_route(directory, device).pipeline, {"image": PICTURES}, device)
    expected = [row.outcome.outputs["tokens"].tolist() for row in offline if row.outcome]
    settings = Settings.model_validate(
        {
            "server": {"http_port": 0, "grpc_port": 0},
            "routes": {"directories": [root], "devices": {generator.KIND: "nets"}},
            "devices": {
                "nets": {"runtime": "torch", "state_limit_bytes": rows * generator.STATE_BYTES}
            },
            "energy": {"source": "none"},
            "cache": {"enabled": False},
        }
    )
    stages: list[generator.Decode] = []

    async def main() -> None:
        async with assemble(settings) as assembly:
            decode = assembly.engine.catalog.resolve(generator.KIND, None).lanes["decode"].stage
            assert isinstance(decode, generator.Decode)
            decode.batches.clear()
            stages.append(decode)
            try:
                await asyncio.wait_for(use(assembly, expected), 60.0)
            finally:
                assert await assembly.end_drain()
            memory = dict(assembly.engine.schedulers)["nets"].states
            assert (memory.used_bytes, memory.reserved_bytes) == (0, 0)

    asyncio.run(main())
    return stages[0]


async def ask(client: httpx.AsyncClient, picture: np.ndarray) -> list[int]:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *picture.shape]}
    body = orjson.dumps({"inputs": [{**tensor, "data": picture.ravel().tolist()}]})
    answer = await client.post(INFER, content=body)
    assert answer.status_code == 200, answer.text
    tokens: list[int] = answer.json()["outputs"][0]["data"]
    return tokens


async def stream(channel: grpc.aio.Channel, *pictures: np.ndarray) -> list[list[list[int]]]:
    """Ask for these pictures in one request; return the tokens of each row in each reply."""
    array = np.stack(pictures)
    request = service_pb2.ModelInferRequest(model_name=generator.KIND)
    request.inputs.add(name="image", datatype="UINT8", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    call = channel.stream_stream(STREAM)(iter([request.SerializeToString()]), timeout=60.0)
    steps: list[list[list[int]]] = [[] for _ in pictures]
    finals = []
    async for raw in call:
        answer = service_pb2.ModelStreamInferResponse.FromString(raw)
        assert not answer.error_message, answer.error_message
        response = answer.infer_response
        rows = map(int, response.parameters["rows"].string_param.split(","))
        found = np.frombuffer(response.raw_output_contents[0], np.int64)
        for row, tokens in zip(rows, found.reshape(response.outputs[0].shape), strict=True):
            steps[row].append(tokens.tolist())
        finals.append(response.parameters["triton_final_response"].bool_param)
    assert finals == [False] * (len(finals) - 1) + [True]
    return steps


def test_both_endpoints_give_the_same_tokens_and_a_stream_gives_each_step(tmp_path: Path) -> None:
    async def use(assembly: Assembly, expected: Sequence[list[int]]) -> None:
        transport = httpx.ASGITransport(AsgiApplication(assembly.web))
        async with (
            grpc.aio.insecure_channel(assembly.grpc_address) as channel,
            httpx.AsyncClient(transport=transport, base_url="http://server") as client,
        ):
            streams = await asyncio.gather(*[stream(channel, one) for one in PICTURES])
            for (steps,), tokens in zip(streams, expected, strict=True):
                assert steps == [tokens[: end + 1] for end in range(len(tokens))]
            assert await asyncio.gather(*[ask(client, one) for one in PICTURES]) == expected

    serve(tmp_path, use)


def test_rows_leave_their_batch_as_they_end(tmp_path: Path) -> None:
    lengths: list[int] = []

    async def use(assembly: Assembly, expected: Sequence[list[int]]) -> None:
        async with grpc.aio.insecure_channel(assembly.grpc_address) as channel:
            rows = await stream(channel, *PICTURES)
        assert [steps[-1] for steps in rows] == expected
        lengths.extend(map(len, expected))

    decode = serve(tmp_path, use)
    left = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert decode.batches == left
    assert left[0] > left[-1]


def test_rows_that_wait_for_memory_are_all_answered(tmp_path: Path) -> None:
    async def use(assembly: Assembly, expected: Sequence[list[int]]) -> None:
        transport = httpx.ASGITransport(AsgiApplication(assembly.web))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            assert await asyncio.gather(*[ask(client, one) for one in PICTURES]) == expected

    decode = serve(tmp_path, use, rows=2)
    assert max(decode.batches) <= 2


def test_a_client_that_leaves_its_stream_frees_its_state(tmp_path: Path) -> None:
    async def use(assembly: Assembly, _expected: Sequence[list[int]]) -> None:
        async with grpc.aio.insecure_channel(assembly.grpc_address) as channel:
            begun = [asyncio.create_task(stream(channel, one)) for one in PICTURES]
            memory = dict(assembly.engine.schedulers)["nets"].states
            await until(lambda: memory.reserved_bytes > 0 or all(one.done() for one in begun))
            for one in begun:
                one.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    serve(tmp_path, use)
