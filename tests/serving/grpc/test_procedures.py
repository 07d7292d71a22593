"""What calls of the gRPC endpoint mean, with a stock client and raw messages on a real port."""

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tests.serving.grpc.open_endpoint import (
    PATIENCE_S,
    PICTURES,
    SERVICE,
    GrpcScene,
    infer_request,
    run,
)


def test_a_stock_client_gets_answers_facts_and_metadata() -> None:
    def talk(port: int) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("sum")
            assert client.is_model_ready("sum", "1")
            assert not client.is_model_ready("absent")
            assert client.get_server_metadata().name == "sparing"
            metadata = client.get_model_metadata("sum", as_json=True)
            assert metadata["name"] == "sum"
            assert metadata["versions"] == ["1"]
            assert metadata["inputs"] == [
                {"name": "image", "datatype": "UINT8", "shape": ["-1", "2", "3"]}
            ]
            assert [one["name"] for one in metadata["outputs"]] == ["label", "probabilities"]
            picture = triton.InferInput("image", list(PICTURES.shape), "UINT8")
            picture.set_data_from_numpy(PICTURES)
            names = ["label", "exit", "stopped_by", "cached", "macs", "energy_mj", "confidence"]
            result = client.infer(
                "sum",
                [picture],
                request_id="seven",
                outputs=[triton.InferRequestedOutput(name) for name in names],
                parameters={"min_confidence": "0.5", "no_cache": True, "unknown": 1},
                timeout=2_000_000,
            )
            assert result.as_numpy("label").tolist() == [15, 51]
            assert result.as_numpy("exit").tolist() == [b"only", b"only"]
            assert result.as_numpy("stopped_by").tolist() == [b"last_stage"] * 2
            assert result.as_numpy("cached").tolist() == [False, False]
            assert result.as_numpy("macs").tolist() == [7, 7]
            assert np.isnan(result.as_numpy("energy_mj")).all()
            response = result.get_response()
            assert response.id == "seven"
            assert response.parameters["route"].string_param == "sum"
            assert response.parameters["energy_source"].string_param == "none"

    async def test(scene: GrpcScene) -> None:
        await asyncio.to_thread(talk, scene.port)
        (request,) = scene.engine.requests
        assert request.controls == {"min_confidence": 0.5}
        assert request.no_cache
        assert request.deadline is not None
        assert request.deadline <= time.monotonic() + 2.0
        assert scene.counts.seen == [("sum", "ok")]

    run(test)


def test_a_stock_client_streams_and_an_error_does_not_end_the_stream() -> None:
    def talk(port: int) -> list[tuple[Any, Any]]:
        got: queue.Queue[tuple[Any, Any]] = queue.Queue()
        picture = triton.InferInput("image", list(PICTURES.shape), "UINT8")
        picture.set_data_from_numpy(PICTURES)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.start_stream(lambda result, error: got.put((result, error)))
            client.async_stream_infer("absent", [picture])
            results = [got.get(timeout=PATIENCE_S)]
            client.async_stream_infer("sum", [picture], request_id="9")
            results += [got.get(timeout=PATIENCE_S) for _ in range(2)]
            client.stop_stream()
        return results

    async def test(scene: GrpcScene) -> None:
        (_, error), (first, none), (second, _) = await asyncio.to_thread(talk, scene.port)
        assert isinstance(error, InferenceServerException)
        assert "no route is named 'absent'" in str(error)
        assert none is None
        assert first.as_numpy("label").tolist() == [15]
        assert second.as_numpy("label").tolist() == [51]
        for result, rows, final in ((first, "0", False), (second, "1", True)):
            response = result.get_response()
            assert response.id == "9"
            assert response.parameters["rows"].string_param == rows
            assert response.parameters["triton_final_response"].bool_param is final
        assert scene.counts.seen == [("absent", "UnknownRoute"), ("sum", "ok")]

    run(test)


def test_a_stream_answers_what_is_ready_first_and_says_which_request_failed() -> None:
    async def test(scene: GrpcScene) -> None:
        stream = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")(timeout=PATIENCE_S)

        async def read() -> Any:
            return service_pb2.ModelStreamInferResponse.FromString(await stream.read())

        await stream.write(infer_request("slow", id="slow").SerializeToString())
        await stream.write(infer_request("absent", id="bad").SerializeToString())
        failed = await read()
        assert failed.infer_response.id == "bad"
        assert "absent" in failed.error_message
        await stream.write(b"\xff\xff\xff")
        assert "not a protobuf message" in (await read()).error_message
        await stream.write(infer_request(id="fast").SerializeToString())
        assert [(await read()).infer_response.id for _ in range(2)] == ["fast", "fast"]
        await stream.done_writing()
        scene.engine.gate.set()
        assert [(await read()).infer_response.id for _ in range(2)] == ["slow", "slow"]
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK

    run(test)


def test_typed_requests_get_typed_answers() -> None:
    async def test(scene: GrpcScene) -> None:
        raw = await scene.call("ModelInfer", infer_request("auto:sums", raw=False))
        response = service_pb2.ModelInferResponse.FromString(raw)
        assert list(response.raw_output_contents) == []
        assert list(response.outputs[0].contents.int64_contents) == [15, 51]
        assert list(response.outputs[1].contents.fp32_contents) == [0.25, 0.75] * 2
        assert scene.engine.requests[0].route == "auto:sums"

    run(test)


def bad_requests() -> Iterator[tuple[str, Any, grpc.StatusCode, str]]:
    invalid, unknown = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

    def changed(change: Callable[[Any], object]) -> Any:
        request = infer_request()
        change(request)
        return request

    def shape(*sizes: int) -> Any:
        def change(request: Any) -> None:
            request.inputs[0].shape[:] = sizes

        return changed(change)

    yield "route", infer_request("absent"), unknown, "absent"
    yield "version", infer_request(model_version="9"), unknown, "'9'"
    yield "rank", shape(12), invalid, "inputs.image.shape"
    yield "size", shape(2, 3, 2), invalid, "inputs.image.shape"
    yield "negative", shape(-2, 2, 3), invalid, "inputs.image.shape"
    yield "overflow", shape(2**63 - 1, 2, 3), invalid, "inputs.image: given 12 bytes"
    yield "empty batch", shape(0, 2, 3), invalid, "given 0 rows"
    yield "bytes", shape(3, 2, 3), invalid, "inputs.image: given 12 bytes"
    yield (
        "datatype",
        changed(lambda one: setattr(one.inputs[0], "datatype", "FP32")),
        invalid,
        "inputs.image.datatype: given 'FP32'",
    )
    yield (
        "both",
        changed(lambda one: one.inputs[0].contents.uint_contents.append(1)),
        invalid,
        "together with raw_input_contents",
    )
    yield "output", changed(lambda one: one.outputs.add(name="mood")), invalid, "given 'mood'"
    yield (
        "parameter",
        changed(lambda one: setattr(one.parameters["min_confidence"], "double_param", 7.0)),
        invalid,
        "parameters.min_confidence: given 7.0",
    )


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [pytest.param(*case[1:], id=case[0]) for case in bad_requests()],
)
def test_bad_input_is_refused_with_the_field_named_before_the_engine_sees_it(
    request_: Any, code: grpc.StatusCode, words: str
) -> None:
    async def test(scene: GrpcScene) -> None:
        refusal = await scene.refusal(request_)
        assert (refusal.code(), words in refusal.details()) == (code, True), refusal.details()
        assert scene.engine.requests == []
        await scene.answered()

    run(test)


def test_the_shorter_of_the_calls_deadline_and_the_timeout_parameter_counts() -> None:
    async def test(scene: GrpcScene) -> None:
        short, long = infer_request(), infer_request()
        short.parameters["timeout_ms"].int64_param = 3_000
        long.parameters["timeout_ms"].string_param = "60000"
        for request, call_s, counts_s in ((short, 20.0, 3.0), (long, 20.0, 20.0)):
            started = time.monotonic()
            await scene.call("ModelInfer", request, timeout=call_s)
            ended = time.monotonic()
            deadline = scene.engine.requests[-1].deadline
            assert deadline is not None
            assert started + counts_s - 1.0 < deadline <= ended + counts_s  # gRPC rounds
        await scene.call("ModelInfer", infer_request())
        assert scene.engine.requests[-1].deadline is None

    run(test)


def test_not_ready_while_draining() -> None:
    async def test(scene: GrpcScene) -> None:
        scene.engine.draining = True
        raw = await scene.call("ServerReady", service_pb2.ServerReadyRequest())
        assert not service_pb2.ServerReadyResponse.FromString(raw).ready
        raw = await scene.call("ModelReady", service_pb2.ModelReadyRequest(name="sum"))
        assert not service_pb2.ModelReadyResponse.FromString(raw).ready

    run(test)
