"""SIGTERM, seen by gRPC clients of a real server: answered, or UNAVAILABLE, and nothing else."""

import signal
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route

PATIENCE_S = 30.0
SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    return root


def infer_request() -> bytes:
    picture = make_pictures(1, seed=1)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="UINT8", shape=picture.shape)
    request.raw_input_contents.append(picture.tobytes())
    request.parameters["no_cache"].bool_param = True
    raw: bytes = request.SerializeToString()
    return raw


def test_calls_at_sigterm_are_answered_or_unavailable(models: Path) -> None:
    ends: list[grpc.StatusCode] = []
    with LiveServer(models) as server:

        def call_until_refused() -> None:
            with grpc.insecure_channel(server.grpc_address) as channel:
                infer = channel.unary_unary(SERVICE + "ModelInfer")
                while True:
                    try:
                        infer(infer_request(), timeout=PATIENCE_S)
                    except grpc.RpcError as error:
                        ends.append(error.code())
                        return

        callers = [threading.Thread(target=call_until_refused) for _ in range(4)]
        for caller in callers:
            caller.start()
        with grpc.insecure_channel(server.grpc_address) as channel:
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(b"", timeout=PATIENCE_S)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            silence = threading.Event()
            stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(
                iter(lambda: silence.wait() and b"", b""), timeout=PATIENCE_S
            )
            server.process.send_signal(signal.SIGTERM)
            assert [one.status for one in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
            assert stream.code() is grpc.StatusCode.UNAVAILABLE
            silence.set()
        for caller in callers:
            caller.join(PATIENCE_S)
        assert server.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in server.log.read_text()
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}
    assert len(ends) == 4
