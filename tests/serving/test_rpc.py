"""The gRPC door on a real port, with a stock client and raw calls, over a small engine."""

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from core import errors
from core.errors import SparingError
from core.manifest import Manifest
from core.messages import Answer, Outcome, Reply, Request, Stage
from monitoring.metrics import NoMetrics
from serving.catalog import Catalog, ServedRoute
from serving.rpc import STATUS, RpcDoor
from serving.settings import DoorSettings

T = TypeVar("T")
SERVICE = "/inference.GRPCInferenceService/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PICTURES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
PATIENCE_S = 20.0
# Clients in one process share connections unless told otherwise; a test wants its own.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Idle:
    """A stage that the small engine never runs."""

    name = "only"

    def run(self, rows: object, /) -> list[Any]:
        raise AssertionError(rows)


@dataclass
class Toy:
    first: str = "only"
    digest: bytes = b"d" * 32
    stages: dict[str, Stage] = field(default_factory=lambda: {"only": Idle()})


def serve_route(route: str, version: str) -> ServedRoute:
    manifest = Manifest.model_validate(
        {
            "format": 1,
            "route": route,
            "version": version,
            "task": "sums",
            "pipeline": "toy",
            "expected_macs": 1.0,
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            ],
            "stages": [{"name": "only", "file": "only.onnx", "macs": 1}],
            "files": {},
            "provenance": {},
        }
    )
    return ServedRoute(manifest, Toy(), NoMetrics().serve(route, ["only"]))


class SumEngine:
    """Labels a picture with the sum of its pixels; `slow` waits for the gate; fails when told to."""

    def __init__(self) -> None:
        self.catalog = Catalog([serve_route("sum", "1"), serve_route("slow", "2")])
        self.draining = False
        self.gate = asyncio.Event()
        self.requests: list[Request] = []
        self.cancelled = 0
        self.arrived = asyncio.Condition()
        self.failure: Exception | None = None

    def resolve(self, route: str, version: str | None) -> ServedRoute:
        return self.catalog.resolve("sum" if route == "auto:sums" else route, version)

    async def answer(self, request: Request) -> Reply:
        return [reply async for reply in self._replies(request, stream=False)][-1]

    async def infer(self, request: Request) -> AsyncIterator[Reply]:
        async for reply in self._replies(request, stream=request.stream):
            yield reply

    async def wait_for(self, fact: Callable[[], bool]) -> None:
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(fact), PATIENCE_S)

    async def _replies(self, request: Request, *, stream: bool) -> AsyncIterator[Reply]:
        self.requests.append(request)
        await self._tell()
        try:
            if self.failure is not None:
                raise self.failure
            if request.route == "slow":
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            asyncio.get_running_loop().create_task(self._tell())
            raise
        rows = [self._row(picture) for picture in request.inputs["image"]]
        served = self.resolve(request.route, request.version)
        head = (served.name, served.version, served.digest, "none", "none")
        if stream:
            for row, answer in enumerate(rows):
                yield Reply(*head, [answer], [row], final=row == len(rows) - 1)
        else:
            yield Reply(*head, rows)

    async def _tell(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()

    def _row(self, picture: np.ndarray[Any, Any]) -> Answer:
        outputs = {
            "label": np.int64(picture.sum()),
            "probabilities": np.array([0.25, 0.75], np.float32),
        }
        outcome = Outcome({k: np.asarray(v) for k, v in outputs.items()}, 0.75, "only")
        return Answer(outcome, "last_stage", False, 7, None, 0.002)


@dataclass
class Counts:
    seen: list[tuple[str | None, str]] = field(default_factory=list)

    def request(self, route: str | None, result: str, /) -> None:
        self.seen.append((route, result))


@dataclass
class House:
    """An open door and what is behind it."""

    engine: SumEngine
    counts: Counts
    door: RpcDoor
    port: int
    channel: Any

    def call(self, method: str, request: Any, **options: Any) -> Any:
        return self.channel.unary_unary(SERVICE + method)(request.SerializeToString(), **options)

    async def refusal(self, request: Any, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.call("ModelInfer", request, timeout=PATIENCE_S, **options)
        return refusal.value

    async def answered(self) -> None:
        """A good request gets its right answer."""
        raw = await self.call("ModelInfer", infer_request(), timeout=PATIENCE_S)
        assert labels(service_pb2.ModelInferResponse.FromString(raw)) == [15, 51]


def run(test: Callable[[House], Awaitable[T]], **settings: Any) -> T:
    async def main() -> T:
        engine, counts = SumEngine(), Counts()
        door = RpcDoor(engine, DoorSettings(grpc_port=0, **settings), counts)
        port = await door.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            try:
                return await test(House(engine, counts, door, port, channel))
            finally:
                engine.gate.set()
                await door.drain(1.0)

    return asyncio.run(main())


def infer_request(route: str = "sum", *, id: str = "", raw: bool = True, **changes: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name=route, id=id)
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=PICTURES.shape)
    if raw:
        request.raw_input_contents.append(PICTURES.tobytes())
    else:
        tensor.contents.uint_contents.extend(PICTURES.ravel().tolist())
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def labels(response: Any) -> list[int]:
    raw = response.raw_output_contents[[one.name for one in response.outputs].index("label")]
    return np.frombuffer(raw, np.int64).tolist()


def leaves(root: type[SparingError]) -> Iterator[type[SparingError]]:
    yield root
    for child in root.__subclasses__():
        yield from leaves(child)


def test_every_error_of_the_tree_has_a_status() -> None:
    assert set(leaves(SparingError)) - {SparingError} == set(STATUS)
    assert all(getattr(errors, kind.__name__) is kind for kind in STATUS)


def test_a_stock_client_gets_answers_facts_and_metadata() -> None:
    def talk(port: int) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("sum")
            assert client.is_model_ready("sum", "1")
            assert not client.is_model_ready("nobody")
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

    async def test(house: House) -> None:
        await asyncio.to_thread(talk, house.port)
        (request,) = house.engine.requests
        assert request.controls == {"min_confidence": 0.5}
        assert request.no_cache
        assert request.deadline is not None
        assert request.deadline <= time.monotonic() + 2.0
        assert house.counts.seen == [("sum", "ok")]

    run(test)


def test_a_stock_client_streams_and_an_error_does_not_end_the_stream() -> None:
    def talk(port: int) -> list[tuple[Any, Any]]:
        got: queue.Queue[tuple[Any, Any]] = queue.Queue()
        picture = triton.InferInput("image", list(PICTURES.shape), "UINT8")
        picture.set_data_from_numpy(PICTURES)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.start_stream(lambda result, error: got.put((result, error)))
            client.async_stream_infer("nobody", [picture])
            results = [got.get(timeout=PATIENCE_S)]
            client.async_stream_infer("sum", [picture], request_id="9")
            results += [got.get(timeout=PATIENCE_S) for _ in range(2)]
            client.stop_stream()
        return results

    async def test(house: House) -> None:
        (_, error), (first, none), (second, _) = await asyncio.to_thread(talk, house.port)
        assert isinstance(error, InferenceServerException)
        assert "no route is named 'nobody'" in str(error)
        assert none is None
        assert first.as_numpy("label").tolist() == [15]
        assert second.as_numpy("label").tolist() == [51]
        for result, rows, final in ((first, "0", False), (second, "1", True)):
            response = result.get_response()
            assert response.id == "9"
            assert response.parameters["rows"].string_param == rows
            assert response.parameters["triton_final_response"].bool_param is final
        assert house.counts.seen == [("nobody", "UnknownRoute"), ("sum", "ok")]

    run(test)


def test_a_stream_answers_what_is_ready_first_and_says_which_request_failed() -> None:
    async def test(house: House) -> None:
        stream = house.channel.stream_stream(SERVICE + "ModelStreamInfer")(timeout=PATIENCE_S)

        async def read() -> Any:
            return service_pb2.ModelStreamInferResponse.FromString(await stream.read())

        await stream.write(infer_request("slow", id="slow").SerializeToString())
        await stream.write(infer_request("nobody", id="bad").SerializeToString())
        failed = await read()
        assert failed.infer_response.id == "bad"
        assert "nobody" in failed.error_message
        await stream.write(b"\xff\xff\xff")
        assert "no protobuf message" in (await read()).error_message
        await stream.write(infer_request(id="fast").SerializeToString())
        assert [(await read()).infer_response.id for _ in range(2)] == ["fast", "fast"]
        await stream.done_writing()
        house.engine.gate.set()
        assert [(await read()).infer_response.id for _ in range(2)] == ["slow", "slow"]
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK

    run(test)


def test_typed_requests_get_typed_answers() -> None:
    async def test(house: House) -> None:
        raw = await house.call("ModelInfer", infer_request("auto:sums", raw=False))
        response = service_pb2.ModelInferResponse.FromString(raw)
        assert list(response.raw_output_contents) == []
        assert list(response.outputs[0].contents.int64_contents) == [15, 51]
        assert list(response.outputs[1].contents.fp32_contents) == [0.25, 0.75] * 2
        assert house.engine.requests[0].route == "auto:sums"

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

    yield "route", infer_request("nobody"), unknown, "nobody"
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
    async def test(house: House) -> None:
        refusal = await house.refusal(request_)
        assert (refusal.code(), words in refusal.details()) == (code, True), refusal.details()
        assert house.engine.requests == []
        await house.answered()

    run(test)


def test_what_is_no_protobuf_is_refused() -> None:
    async def test(house: House) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await house.channel.unary_unary(SERVICE + "ModelInfer")(b"\xff\xff\xff")
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no protobuf message for ModelInfer" in refusal.value.details()
        await house.answered()

    run(test)


def test_a_body_over_the_limit_is_refused() -> None:
    async def test(house: House) -> None:
        request = infer_request()
        request.raw_input_contents.append(bytes(10_000))
        assert (await house.refusal(request)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await house.answered()

    run(test, max_body_bytes=5_000)


def test_bodies_under_way_are_bounded_together_and_give_their_room_back() -> None:
    async def test(house: House) -> None:
        first = house.call("ModelInfer", infer_request("slow"))
        await house.engine.wait_for(lambda: len(house.engine.requests) == 1)
        refusal = await house.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(refusal.trailing_metadata())["retry-after"] == "1"
        house.engine.gate.set()
        await first
        await house.answered()

    run(test, max_body_bytes_in_flight=80)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_bodies_are_refused_unread(compression: grpc.Compression) -> None:
    async def test(house: House) -> None:
        bomb = infer_request()
        bomb.raw_input_contents[0] = bytes(4_000_000)
        refusal = await house.refusal(bomb, compression=compression)
        assert refusal.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "disabled" in refusal.details()
        await house.answered()

    run(test, max_body_bytes=100_000)


@pytest.mark.parametrize("kind", sorted(STATUS, key=lambda kind: kind.__name__))
def test_an_error_of_the_engine_has_its_status_and_its_sentence(kind: type[SparingError]) -> None:
    async def test(house: House) -> None:
        house.engine.failure = kind("so it is")
        refusal = await house.refusal(infer_request())
        assert refusal.code() is STATUS[kind]
        assert refusal.details() == "so it is"
        assert house.counts.seen == [("sum", kind.__name__)]

    run(test)


def test_overload_says_when_to_come_back() -> None:
    async def test(house: House) -> None:
        house.engine.failure = errors.Overloaded("full", retry_after_s=2.1)
        refusal = await house.refusal(infer_request())
        assert dict(refusal.trailing_metadata())["retry-after"] == "3"

    run(test)


def test_a_fault_of_ours_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test(house: House) -> None:
        house.engine.failure = ZeroDivisionError("a secret")
        refusal = await house.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in refusal.details()
        assert house.counts.seen == [("sum", "InternalError")]
        house.engine.failure = None
        await house.answered()

    run(test)
    assert "a secret" in caplog.text


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_caller_who_goes_away_cancels_the_work(method: str) -> None:
    async def test(house: House) -> None:
        request = infer_request("slow").SerializeToString()
        if method == "ModelInfer":
            call = house.channel.unary_unary(SERVICE + method)(request)
        else:
            call = house.channel.stream_stream(SERVICE + method)()
            await call.write(request)
        await house.engine.wait_for(lambda: len(house.engine.requests) == 1)
        call.cancel()
        await house.engine.wait_for(lambda: house.engine.cancelled == 1)
        await house.answered()

    run(test)


def test_the_shorter_of_the_calls_deadline_and_the_timeout_parameter_counts() -> None:
    async def test(house: House) -> None:
        short, long = infer_request(), infer_request()
        short.parameters["timeout_ms"].int64_param = 3_000
        long.parameters["timeout_ms"].string_param = "60000"
        for request, timeout_s, bound_s in ((short, 10.0, 3.0), (long, 10.0, 10.0)):
            await house.call("ModelInfer", request, timeout=timeout_s)
            deadline = house.engine.requests[-1].deadline
            assert deadline is not None
            assert bound_s - 2.0 < deadline - time.monotonic() <= bound_s + 0.01
        await house.call("ModelInfer", infer_request())
        assert house.engine.requests[-1].deadline is None

    run(test)


def test_health_is_told_and_watched_for_the_server_and_the_service() -> None:
    async def test(house: House) -> None:
        check = house.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        states = health_pb2.HealthCheckResponse
        for service in ("", "inference.GRPCInferenceService"):
            found = await check(health_pb2.HealthCheckRequest(service=service))
            assert found.status == states.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await check(health_pb2.HealthCheckRequest(service="nobody"))
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        watch = house.channel.unary_stream(
            "/grpc.health.v1.Health/Watch", response_deserializer=states.FromString
        )(b"")
        assert (await watch.read()).status == states.SERVING
        await asyncio.wait_for(house.door.drain(PATIENCE_S), PATIENCE_S / 2)
        assert (await watch.read()).status == states.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF

    run(test)


def test_reflection_describes_every_service_it_lists() -> None:
    async def test(house: House) -> None:
        stream = house.channel.stream_stream(
            REFLECTION,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=PATIENCE_S)
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = [one.name for one in (await stream.read()).list_services_response.service]
        assert "inference.GRPCInferenceService" in names
        assert "grpc.health.v1.Health" in names
        for name in names:
            await stream.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
            files = (await stream.read()).file_descriptor_response.file_descriptor_proto
            found = FileDescriptorProto.FromString(files[0])
            assert name in [f"{found.package}.{one.name}" for one in found.service]
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF

    run(test)


def test_a_token_is_demanded_of_everything_but_health() -> None:
    async def test(house: House) -> None:
        for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "é"),)):
            try:
                refusal = await house.refusal(infer_request(), metadata=metadata)
            except (ValueError, UnicodeError):
                continue  # a client that does not even send it
            assert refusal.code() in {
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.INTERNAL,  # the client's own refusal of a bad header
            }
        stream = house.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
        assert house.engine.requests == []
        good = (("authorization", "Bearer s3cret"),)
        await house.call("ModelInfer", infer_request(), metadata=good)
        await house.channel.unary_unary("/grpc.health.v1.Health/Check")(b"")

    run(test, bearer_token="s3cret")


def test_a_drain_answers_what_was_accepted_and_accepts_nothing_more() -> None:
    async def test(house: House) -> None:
        calls = [house.call("ModelInfer", infer_request("slow")) for _ in range(40)]
        stream = house.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await stream.write(infer_request("slow").SerializeToString())
        idle = house.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await house.engine.wait_for(lambda: len(house.engine.requests) == 41)
        drain = asyncio.create_task(house.door.drain(PATIENCE_S))
        assert await idle.code() is grpc.StatusCode.UNAVAILABLE  # draining has begun
        refusal = await house.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        house.engine.gate.set()
        for call in calls:
            assert labels(service_pb2.ModelInferResponse.FromString(await call)) == [15, 51]
        for label in (15, 51):
            raw = await stream.read()
            response = service_pb2.ModelStreamInferResponse.FromString(raw).infer_response
            assert labels(response) == [label]
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(drain, PATIENCE_S / 2)
        assert len(house.engine.requests) == 41

    run(test)


def test_a_port_in_use_is_an_os_error() -> None:
    async def test(house: House) -> None:
        second = RpcDoor(house.engine, DoorSettings(grpc_port=house.port), house.counts)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await house.answered()

    run(test)


def test_not_ready_while_draining() -> None:
    async def test(house: House) -> None:
        house.engine.draining = True
        raw = await house.call("ServerReady", service_pb2.ServerReadyRequest())
        assert not service_pb2.ServerReadyResponse.FromString(raw).ready
        raw = await house.call("ModelReady", service_pb2.ModelReadyRequest(name="sum"))
        assert not service_pb2.ModelReadyResponse.FromString(raw).ready

    run(test)
