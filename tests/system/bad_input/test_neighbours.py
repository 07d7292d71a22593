"""Good requests beside bad ones: every answer is the offline answer, whatever arrives with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.grpc import service_pb2

from core.devices.onnx import OnnxDevice
from harness.tiny_routes import make_pictures, make_poison, write_route
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.bad_input import INFER, PREDICT, TENSOR, Victim, check_told, make_png
from tests.clients.raw_http import RawClient

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PICTURES = make_pictures(40, seed=33)
ROUNDS = 5
BOMB = make_png(10**9, 1)

Floats = npt.NDArray[np.float32]


def make_body(*pictures: npt.NDArray[np.uint8], **changes: Any) -> bytes:
    rows = np.stack(pictures)
    tensor = {**TENSOR, "shape": list(rows.shape), "data": rows.ravel().tolist(), **changes}
    return json.dumps({"inputs": [tensor], "parameters": {"no_cache": True}}).encode()


# Path and body -> status and a word of the sentence.
BAD: Mapping[tuple[str, bytes], tuple[int, str]] = {
    (INFER, make_body(PICTURES[0], shape=[2**62, 28, 28])): (400, "inputs.image.data"),
    (INFER, make_body(PICTURES[0], datatype="FP32")): (400, "inputs.image.datatype"),
    (INFER, b"[" * 100_000): (400, "lists, allowed 1024 in JSON"),
    (INFER, bytes(2**15)): (400, "body: not JSON"),
    (INFER, bytes(2 * 2**20)): (413, "a request of this route has"),
    (PREDICT, BOMB): (413, "pixels"),
    (PREDICT, BOMB[:40]): (400, "pictures[0]"),
    ("/v2/models/nothing/infer", make_body(PICTURES[0])): (404, "'nothing'"),
    (INFER, make_body(make_poison())): (500, "stage0"),
    (INFER, make_body(PICTURES[1], make_poison(), PICTURES[2])): (500, "stage0"),
}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> list[Floats]:
    directory = write_route(tmp_path_factory.mktemp("same"), poison=True)
    route = load_route(directory, OnnxDevice())
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice())
    outcomes = [row.outcome for row in rows if row.outcome is not None]
    assert {outcome.exit for outcome in outcomes} == {"stage0", "stage1"}
    return [outcome.outputs["probabilities"] for outcome in outcomes]


def test_the_poison_picture_fails_offline_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    route = load_route(write_route(tmp_path_factory.mktemp("same"), poison=True), OnnxDevice())
    (row,) = run_offline(route.pipeline, {"image": make_poison()[None]}, OnnxDevice())
    assert row.outcome is None


async def ask_good(victim: Victim, right: list[Floats], offset: int) -> None:
    """Every picture again and again, from another one on than the other callers."""
    async with RawClient(victim.server.http_port) as client:
        for turn in range(ROUNDS * len(PICTURES)):
            index = (offset + turn) % len(PICTURES)
            reply = await client.post(INFER, make_body(PICTURES[index]))
            assert reply.status == 200, reply.body
            outputs: Any = reply.json()["outputs"]
            np.testing.assert_array_equal(np.array(outputs[1]["data"], np.float32), right[index])


async def ask_good_rpc(victim: Victim, right: list[Floats]) -> None:
    async with open_call(victim) as call:
        for _ in range(ROUNDS):
            request = service_pb2.ModelInferRequest(model_name="tiny")
            request.parameters["no_cache"].bool_param = True
            request.inputs.add(name="image", datatype="UINT8", shape=PICTURES.shape)
            request.raw_input_contents.append(PICTURES.tobytes())
            answer = service_pb2.ModelInferResponse.FromString(
                await call(request.SerializeToString(), timeout=20)
            )
            raw = answer.raw_output_contents[1]
            found = np.frombuffer(raw, np.float32).reshape(len(PICTURES), -1)
            np.testing.assert_array_equal(found, np.stack(right))


async def ask_bad(victim: Victim, over: asyncio.Event, offset: int) -> int:
    """All of the bad requests in turn until the good ones are done; how many were sent."""
    cases = list(BAD.items())
    sent = 0
    async with RawClient(victim.server.http_port) as client:
        while not over.is_set():
            (path, body), (status, word) = cases[(offset + sent) % len(cases)]
            check_told(await client.post(path, body), status, word)
            sent += 1
    return sent


async def ask_bad_rpc(victim: Victim, over: asyncio.Event) -> int:
    sent = 0
    async with open_call(victim) as call:
        while not over.is_set():
            request = service_pb2.ModelInferRequest(model_name="tiny")
            request.inputs.add(name="image", datatype="UINT8", shape=[1, 28, 28])
            request.raw_input_contents.append(make_poison().tobytes() if sent % 2 else b"short")
            code = grpc.StatusCode.INTERNAL if sent % 2 else grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(request.SerializeToString(), timeout=20)
            assert refusal.value.code() is code, refusal.value
            sent += 1
    return sent


@asynccontextmanager
async def open_call(victim: Victim) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(victim.server.grpc_address) as channel:
        yield channel.unary_unary(METHOD)


def test_neighbours_of_bad_requests_and_of_poison_get_the_offline_answers(
    victim: Victim, right: list[Floats]
) -> None:
    async def main() -> list[int]:
        over = asyncio.Event()
        bad = [asyncio.create_task(ask_bad(victim, over, 2 * caller)) for caller in range(6)]
        bad.append(asyncio.create_task(ask_bad_rpc(victim, over)))
        good = [ask_good(victim, right, 5 * caller) for caller in range(8)]
        try:
            await asyncio.gather(*good, ask_good_rpc(victim, right))
        finally:
            over.set()
            sent = await asyncio.gather(*bad)
        return sent

    sent = asyncio.run(main())
    assert min(sent) >= len(BAD)
    server = victim.server
    batches = server.metric("sparing_batch_rows_count", stage="stage0")
    rows = server.metric("sparing_batch_rows_sum", stage="stage0")
    assert rows > 3 * batches  # good ones and bad ones were mixed
    failed = server.metric("sparing_requests_total", result="StageFailed")
    assert failed >= 2 * sum(sent[:6]) // len(BAD) - 12
    victim.check_unharmed()
