"""Clients that do not go on keep no other client from being served, and are let go in time."""

import asyncio
import struct

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2

from serving.grpc.open_calls import REFLECTIONS, STREAMS, WATCHES
from serving.grpc.options import list_options
from serving.settings import ServerSettings
from tests.clients.raw_http2 import FIRST_WINDOW, GOAWAY, PING, SETTINGS, RawHttp2, half_message
from tests.serving.grpc.open_endpoint import (
    OPTIONS,
    PATIENCE_S,
    SERVICE,
    GrpcScene,
    infer_request,
    labels,
    run,
)

WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
STREAM = SERVICE + "ModelStreamInfer"


async def served(scene: GrpcScene) -> None:
    """Another connection gets each kind of answer."""
    await scene.answered()
    await scene.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE_S)
    watch = scene.channel.unary_stream(WATCH)(b"", timeout=PATIENCE_S)
    assert await watch.read()
    watch.cancel()
    stream = scene.channel.stream_stream(STREAM)(timeout=PATIENCE_S)
    await stream.write(infer_request().SerializeToString())
    answer = service_pb2.ModelStreamInferResponse.FromString(await stream.read())
    assert labels(answer.infer_response) == [15]
    stream.cancel()


@pytest.mark.parametrize(
    ("path", "limit", "message"),
    [
        (WATCH, WATCHES.per_connection, b"\0\0\0\0\0"),
        (WATCH, 32, b""),
        (STREAM, STREAMS.per_connection, b""),
        (REFLECTION, REFLECTIONS.per_connection, b""),
        (SERVICE + "ModelInfer", 1024, b""),
        ("/grpc.health.v1.Health/Check", 32, b""),
    ],
    ids=["watchers", "watches unsaid", "streams", "reflection", "infer", "checks"],
)
@pytest.mark.parametrize("token", ["", "s3cret"])
def test_calls_without_end_leave_room_for_others(
    path: str, limit: int, message: bytes, token: str
) -> None:
    async def test(scene: GrpcScene) -> None:
        raw = await RawHttp2.connect(scene.port)
        for _ in range(limit + 40):
            stream = raw.call(path)
            if message:
                await raw.send(stream, message)
        while len(raw.ended) < 40:
            assert await raw.read() >= 0
        if not token:
            await served(scene)
        await scene.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE_S)
        raw.close()

    run(test, bearer_token=token)


def test_a_message_that_is_never_finished_ends_its_call_and_nothing_else() -> None:
    async def test(scene: GrpcScene) -> None:
        raw = await RawHttp2.connect(scene.port)
        streams = [raw.call(SERVICE + name) for name in ("ModelInfer", "ServerLive")]
        for stream in streams:
            await raw.send(stream, half_message(1000))
        await raw.until_ended(*streams)
        await served(scene)
        raw.close()

    run(test, grpc_message_timeout_s=0.2)


@pytest.mark.parametrize(
    ("path", "requests"),
    [
        (SERVICE + "ModelInfer", 1),
        (STREAM, 1),
        (STREAM, 40),  # more than a stream may have under way
        ("/grpc.health.v1.Health/Check", 1),
        (WATCH, 1),
    ],
)
def test_who_reads_no_answers_loses_the_connection_and_holds_nothing(
    path: str, requests: int
) -> None:
    message = infer_request().SerializeToString() if SERVICE in path else b""
    whole = b"\0" + struct.pack(">I", len(message)) + message

    async def test(scene: GrpcScene) -> None:
        raw = await RawHttp2.connect(scene.port)
        raw.write(SETTINGS, 0, 0, struct.pack(">HI", FIRST_WINDOW, 0))
        stream = raw.call(path)
        for _ in range(requests):
            await raw.send(stream, whole, end=path != STREAM)
        while await raw.read() >= 0:
            assert stream not in raw.ended
        raw.close()
        await served(scene)

    run(test, grpc_message_timeout_s=0.2)


def test_a_stream_without_requests_ends_in_time() -> None:
    async def test(scene: GrpcScene) -> None:
        stream = scene.channel.stream_stream(STREAM)(timeout=PATIENCE_S)
        await stream.write(infer_request("slow").SerializeToString())
        idle = scene.channel.stream_stream(STREAM)(timeout=PATIENCE_S)
        assert await idle.code() is grpc.StatusCode.UNAVAILABLE
        assert "idle for too long" in await idle.details()
        assert not stream.done()  # it has a request under way
        scene.engine.gate.set()
        for _row in range(2):
            assert await stream.read()
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE

    run(test, grpc_stream_idle_s=0.2)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_unfinished_messages_hold_bounded_bytes(method: str) -> None:
    async def test(scene: GrpcScene) -> None:
        raw = await RawHttp2.connect(scene.port)
        streams = [raw.call(SERVICE + method) for _ in range(8)]
        waited = asyncio.get_running_loop().time() + 1.2  # the sweeper has begun to watch
        while asyncio.get_running_loop().time() < waited:
            await scene.answered()
        for stream in streams:
            await raw.send(stream, half_message(900_000))
        await raw.until_ended(*streams)
        await served(scene)
        raw.close()

    run(test, max_body_bytes=1_000_000, max_body_bytes_in_flight=4_000_000)


@pytest.mark.parametrize(("interval_s", "cut"), [(0.0, False), (60.0, True)])
def test_how_often_clients_may_ping_is_a_setting(interval_s: float, cut: bool) -> None:
    async def test(scene: GrpcScene) -> None:
        raw = await RawHttp2.connect(scene.port)
        kinds: list[int] = []
        for sent in (20, 40):
            for number in range(20):
                raw.write(PING, 0, 0, bytes([number] * 8))
            while kinds.count(PING) < sent and not {GOAWAY, -1}.intersection(kinds):
                kinds.append(await raw.read())  # -1: hung up, which may overtake the goodbye
        assert (kinds.count(PING) < 40) is cut
        await served(scene)
        raw.close()

    run(test, grpc_min_ping_interval_s=interval_s)


@pytest.mark.parametrize(("interval_s", "cut"), [(0.01, False), (60.0, True)])
def test_a_client_of_the_library_that_pings_is_answered_as_the_setting_allows(
    interval_s: float, cut: bool
) -> None:
    pings = [*OPTIONS, ("grpc.keepalive_time_ms", 50), ("grpc.http2.max_pings_without_data", 0)]

    async def test(scene: GrpcScene) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{scene.port}", options=pings) as channel:
            infer = channel.unary_unary(SERVICE + "ModelInfer")
            call = infer(infer_request("slow").SerializeToString(), timeout=PATIENCE_S)
            if cut:
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
                assert await call.details() == "Too many pings"
            else:
                _, waiting = await asyncio.wait([asyncio.ensure_future(call.code())], timeout=1.0)
                assert waiting  # through some twenty pings
                scene.engine.gate.set()
                assert await call.code() is grpc.StatusCode.OK

    run(test, grpc_min_ping_interval_s=interval_s)


def test_a_client_may_ping_every_ten_seconds_by_default() -> None:
    options = dict(list_options(ServerSettings(), shares_port=False))
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1


def test_a_call_without_a_message_is_told_so() -> None:
    async def test(scene: GrpcScene) -> None:
        for path in (SERVICE + "ModelInfer", "/grpc.health.v1.Health/Check"):
            call = scene.channel.stream_unary(path)(timeout=PATIENCE_S)
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "ended without a message" in await call.details()

    run(test)
