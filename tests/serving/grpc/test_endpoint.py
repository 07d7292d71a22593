"""How the gRPC endpoint carries calls: limits, statuses, tokens, health, reflection, drain."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2

from core import errors
from core.errors import SparingError
from serving.configuration.certificates import ServerTls
from serving.grpc.endpoint import GrpcEndpoint
from serving.grpc.status import STATUS
from serving.settings import ServerSettings
from tests.clients.raw_http2 import RawHttp2, half_message
from tests.servers.certificates import Pair, make_certificate
from tests.serving.grpc.open_endpoint import (
    OPTIONS,
    PATIENCE_S,
    SERVICE,
    GrpcScene,
    infer_request,
    labels,
    run,
)

REFLECTION = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"


def leaves(root: type[SparingError]) -> Iterator[type[SparingError]]:
    yield root
    for child in root.__subclasses__():
        yield from leaves(child)


def test_every_error_of_the_tree_has_a_status() -> None:
    assert set(leaves(SparingError)) - {SparingError} == set(STATUS)
    assert all(getattr(errors, kind.__name__) is kind for kind in STATUS)


def test_what_is_no_protobuf_is_refused() -> None:
    async def test(scene: GrpcScene) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await scene.channel.unary_unary(SERVICE + "ModelInfer")(b"\xff\xff\xff")
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "not a protobuf message for ModelInfer" in refusal.value.details()
        await scene.answered()

    run(test)


def test_a_body_over_the_limit_is_refused() -> None:
    async def test(scene: GrpcScene) -> None:
        request = infer_request()
        request.raw_input_contents.append(bytes(10_000))
        assert (await scene.refusal(request)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await scene.answered()

    run(test, max_body_bytes=5_000)


def test_bodies_under_way_are_bounded_together_and_give_their_room_back() -> None:
    async def test(scene: GrpcScene) -> None:
        first = scene.call("ModelInfer", infer_request("slow"))
        await scene.engine.wait_for(lambda: len(scene.engine.requests) == 1)
        refusal = await scene.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(refusal.trailing_metadata())["retry-after"] == "1"
        scene.engine.gate.set()
        await first
        await scene.answered()

    run(test, max_body_bytes_in_flight=80)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_bodies_are_refused_unread(compression: grpc.Compression) -> None:
    async def test(scene: GrpcScene) -> None:
        bomb = infer_request()
        bomb.raw_input_contents[0] = bytes(4_000_000)
        refusal = await scene.refusal(bomb, compression=compression)
        assert refusal.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "disabled" in refusal.details()
        await scene.answered()

    run(test, max_body_bytes=100_000)


@pytest.mark.parametrize("kind", list(STATUS))
def test_an_error_of_the_engine_has_its_status_and_its_sentence(kind: type[SparingError]) -> None:
    async def test(scene: GrpcScene) -> None:
        scene.engine.failure = kind("so it is")
        refusal = await scene.refusal(infer_request())
        assert refusal.code().name == STATUS[kind]
        assert refusal.details() == "so it is"
        assert scene.counts.seen == [("sum", kind.__name__)]

    run(test)


def test_overload_says_when_to_come_back() -> None:
    async def test(scene: GrpcScene) -> None:
        scene.engine.failure = errors.Overloaded("full", retry_after_s=2.1)
        refusal = await scene.refusal(infer_request())
        assert dict(refusal.trailing_metadata())["retry-after"] == "3"

    run(test)


def test_a_fault_of_ours_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test(scene: GrpcScene) -> None:
        scene.engine.failure = ZeroDivisionError("a secret")
        refusal = await scene.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in refusal.details()
        assert scene.counts.seen == [("sum", "InternalError")]
        scene.engine.failure = None
        await scene.answered()

    run(test)
    assert "a secret" in caplog.text


def test_a_message_larger_than_its_route_takes_is_refused_unread() -> None:
    async def test(scene: GrpcScene) -> None:
        request = infer_request(raw=False)
        request.inputs[0].contents.uint_contents.extend([1] * 2_000_000)
        refusal = await scene.refusal(request)
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "route sum takes at most 1048576" in refusal.details()
        assert (await scene.refusal(infer_request("absent", id="x" * 5000))).code() is (
            grpc.StatusCode.NOT_FOUND
        )
        stream = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")(timeout=PATIENCE_S)
        await stream.write(request.SerializeToString())
        answer = service_pb2.ModelStreamInferResponse.FromString(await stream.read())
        assert "route sum takes at most 1048576" in answer.error_message
        await scene.answered()

    run(test)


def test_an_id_that_is_too_long_is_refused_as_over_http() -> None:
    async def test(scene: GrpcScene) -> None:
        refusal = await scene.refusal(infer_request(id="x" * 1025))
        assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "id: given 1025 characters" in refusal.details()

    run(test)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("RepositoryModelLoad", "no load or unload"),
        ("RepositoryModelUnload", "no load or unload"),
        ("SystemSharedMemoryRegister", "shared memory"),
        ("CudaSharedMemoryStatus", "shared memory"),
    ],
)
def test_what_is_not_offered_is_refused_in_words(method: str, words: str) -> None:
    async def test(scene: GrpcScene) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await scene.channel.unary_unary(SERVICE + method)(b"", timeout=PATIENCE_S)
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert words in refusal.value.details()

    run(test)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_caller_who_goes_away_cancels_the_work(method: str) -> None:
    async def test(scene: GrpcScene) -> None:
        request = infer_request("slow").SerializeToString()
        if method == "ModelInfer":
            call = scene.channel.unary_unary(SERVICE + method)(request)
        else:
            call = scene.channel.stream_stream(SERVICE + method)()
            await call.write(request)
        await scene.engine.wait_for(lambda: len(scene.engine.requests) == 1)
        call.cancel()
        await scene.engine.wait_for(lambda: scene.engine.cancelled == 1)
        await scene.answered()

    run(test)


def test_health_is_told_and_watched_for_the_server_and_the_service() -> None:
    async def test(scene: GrpcScene) -> None:
        check = scene.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        states = health_pb2.HealthCheckResponse
        for service in ("", "inference.GRPCInferenceService"):
            found = await check(health_pb2.HealthCheckRequest(service=service))
            assert found.status == states.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await check(health_pb2.HealthCheckRequest(service="absent"))
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        watch = scene.channel.unary_stream(
            "/grpc.health.v1.Health/Watch", response_deserializer=states.FromString
        )(b"")
        assert (await watch.read()).status == states.SERVING
        await asyncio.wait_for(scene.endpoint.drain(PATIENCE_S), PATIENCE_S / 2)
        assert (await watch.read()).status == states.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF

    run(test)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_every_service_it_lists(version: str) -> None:
    async def test(scene: GrpcScene) -> None:
        stream = scene.channel.stream_stream(
            REFLECTION.format(version),
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=PATIENCE_S)
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = [one.name for one in (await stream.read()).list_services_response.service]
        assert "inference.GRPCInferenceService" in names
        assert "grpc.health.v1.Health" in names
        assert f"grpc.reflection.{version}.ServerReflection" in names
        for name in names:
            await stream.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
            files = (await stream.read()).file_descriptor_response.file_descriptor_proto
            found = FileDescriptorProto.FromString(files[0])
            assert name in [f"{found.package}.{one.name}" for one in found.service]
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF

    run(test)


def test_a_token_is_demanded_of_everything_but_health() -> None:
    async def test(scene: GrpcScene) -> None:
        for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "s3cret"),)):
            refusal = await scene.refusal(infer_request(), metadata=metadata)
            assert refusal.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "metadata authorization" in refusal.details()
        stream = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
        assert scene.engine.requests == []
        good = (("authorization", "Bearer s3cret"),)
        await scene.call("ModelInfer", infer_request(), metadata=good)
        await scene.channel.unary_unary("/grpc.health.v1.Health/Check")(b"")

    run(test, bearer_token="s3cret")


def test_a_drain_answers_what_was_accepted_and_accepts_nothing_more() -> None:
    async def test(scene: GrpcScene) -> None:
        calls = [scene.call("ModelInfer", infer_request("slow")) for _ in range(40)]
        stream = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await stream.write(infer_request("slow").SerializeToString())
        idle = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await scene.engine.wait_for(lambda: len(scene.engine.requests) == 41)
        drain = asyncio.create_task(scene.endpoint.drain(PATIENCE_S))
        assert await idle.code() is grpc.StatusCode.UNAVAILABLE  # draining has begun
        refusal = await scene.refusal(infer_request())
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        scene.engine.gate.set()
        for call in calls:
            assert labels(service_pb2.ModelInferResponse.FromString(await call)) == [15, 51]
        for label in (15, 51):
            raw = await stream.read()
            response = service_pb2.ModelStreamInferResponse.FromString(raw).infer_response
            assert labels(response) == [label]
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(drain, PATIENCE_S / 2)
        assert len(scene.engine.requests) == 41

    run(test)


def test_what_a_drain_cannot_answer_ends_as_unavailable() -> None:
    async def test(scene: GrpcScene) -> None:
        slow = scene.call("ModelInfer", infer_request("slow"))
        stream = scene.channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await stream.write(infer_request("slow").SerializeToString())
        half = await RawHttp2.connect(scene.port)
        call = half.call(SERVICE + "ModelInfer")
        await half.send(call, half_message(1000))
        await scene.engine.wait_for(lambda: len(scene.engine.requests) == 2)
        drain = asyncio.create_task(scene.endpoint.drain(0.5))
        await half.until_ended(call)  # at once: no message of it is waited for
        refusal = await scene.refusal(infer_request())  # a new call on an old connection
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert not slow.done()
        assert await slow.code() is grpc.StatusCode.UNAVAILABLE
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(drain, PATIENCE_S / 2)
        assert scene.engine.cancelled == 2
        half.close()

    run(test)


def test_a_changed_certificate_is_used_by_new_connections_and_breaks_no_open_one(
    tmp_path: Path,
) -> None:
    first, second = [make_certificate(tmp_path, name) for name in ("first", "second")]
    tls = ServerTls(first.read())

    async def test(scene: GrpcScene) -> None:
        def connect(trusted: Pair) -> Any:
            credentials = grpc.ssl_channel_credentials(trusted.chain.read_bytes())
            place = f"127.0.0.1:{scene.port}"
            return grpc.aio.secure_channel(place, credentials, options=OPTIONS)

        async def answers(channel: Any) -> bool:
            infer = channel.unary_unary(SERVICE + "ModelInfer")
            raw = await infer(infer_request().SerializeToString(), timeout=PATIENCE_S)
            return labels(service_pb2.ModelInferResponse.FromString(raw)) == [15, 51]

        async with connect(first) as old, connect(second) as new:
            assert await answers(old)
            tls.use(second.read())
            assert await answers(new)
            assert await answers(old)
            async with connect(first) as late:
                with pytest.raises(grpc.aio.AioRpcError) as refusal:
                    await answers(late)
                assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE

    run(test, tls)


def test_a_port_in_use_is_an_os_error() -> None:
    async def test(scene: GrpcScene) -> None:
        second = GrpcEndpoint(scene.engine, ServerSettings(grpc_port=scene.port), scene.counts)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await scene.answered()

    run(test)


def test_clients_that_leave_their_streams_write_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def test(scene: GrpcScene) -> None:
        async def requests() -> AsyncIterator[bytes]:
            for _ in range(12):
                yield infer_request().SerializeToString()

        async def leave() -> None:  # each a connection that ends with its stream
            async with grpc.aio.insecure_channel(f"127.0.0.1:{scene.port}") as channel:
                stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(requests())
                async for _ in stream:
                    stream.cancel()
                    break

        for _ in range(5):
            await asyncio.gather(*[leave() for _ in range(8)])
        await scene.answered()

    run(test)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO] == []
    assert capfd.readouterr().err == ""
