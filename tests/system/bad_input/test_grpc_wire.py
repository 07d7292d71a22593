"""Bad calls below the protocol: no protobuf, too large, compressed, no gRPC. No harm done."""

import socket

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.clients.bad_calls import RAW, SERVICE, Caller, make_request
from tests.clients.bad_input import MIB


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", RAW, b"\x0a\x7f" + b"a"])
def test_what_is_no_protobuf_is_refused(caller: Caller, raw: bytes) -> None:
    caller.check_refused(
        raw, grpc.StatusCode.INVALID_ARGUMENT, "not a protobuf message for ModelInfer"
    )


@pytest.mark.parametrize("size_bytes", [16 * MIB + 1, 100 * MIB])
def test_a_message_over_the_limit_is_refused(caller: Caller, size_bytes: int) -> None:
    caller.check_refused(
        make_request(bytes(size_bytes)),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "larger than max",
        str(16 * MIB),
    )


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("raw", [RAW, bytes(64 * MIB)], ids=["small", "a bomb"])
def test_a_compressed_message_is_refused(
    caller: Caller, raw: bytes, compression: grpc.Compression
) -> None:
    with caller.victim.bounded(32 * MIB):
        caller.check_refused(
            make_request(raw), grpc.StatusCode.UNIMPLEMENTED, "disabled", compression=compression
        )


@pytest.mark.parametrize("method", ["ModelDelete", "../ModelInfer", ""])
def test_an_unknown_method_is_unimplemented(caller: Caller, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        caller.channel.unary_unary(SERVICE + method)(b"", timeout=10)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    caller.check_unharmed()


def test_metadata_over_the_limit_is_refused(caller: Caller) -> None:
    caller.check_refused(
        make_request(),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "metadata",
        metadata=(("x", "v" * 100_000),),
    )


def test_in_a_stream_bad_requests_fail_alone_and_in_words(caller: Caller) -> None:
    bad = make_request(RAW[:-1], id="bad")
    lost = make_request(model_name="nothing", id="lost")
    requests = [make_request(id="good"), bad, lost, make_request(id="good")]
    raws = [*(request.SerializeToString() for request in requests), b"\xff\xff"]
    stream = caller.channel.stream_stream(SERVICE + "ModelStreamInfer")(iter(raws), timeout=10)
    found = [service_pb2.ModelStreamInferResponse.FromString(raw) for raw in stream]
    told = {one.infer_response.id: one.error_message for one in found if one.error_message}
    assert "inputs.image: given 783 bytes" in told["bad"]
    assert "'nothing'" in told["lost"]
    assert "not a protobuf message" in told[""]
    final = "triton_final_response"
    good = [one for one in found if one.infer_response.parameters[final].bool_param]
    assert [one.infer_response.id for one in good] == ["good", "good"]
    caller.check_unharmed()


def test_a_message_over_the_limit_ends_its_stream_only(caller: Caller) -> None:
    raws = [make_request(bytes(16 * MIB)).SerializeToString()]
    with pytest.raises(grpc.RpcError) as refusal:
        list(caller.channel.stream_stream(SERVICE + "ModelStreamInfer")(iter(raws), timeout=10))
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    caller.check_unharmed()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(1000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000,
    ],
    ids=["HTTP/1.1", "zeros", "damaged frames"],
)
def test_what_is_no_grpc_harms_nobody(caller: Caller, raw: bytes) -> None:
    host, port = caller.victim.server.grpc_address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw)
        while connection.recv(65536):
            pass  # until the server hangs up
    caller.check_unharmed()
