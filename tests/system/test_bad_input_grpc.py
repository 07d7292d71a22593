"""Bad calls over gRPC: INVALID_ARGUMENT and its kin with a sentence, and no harm done."""

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.bad_input import MIB, PICTURE, Victim

SERVICE = "/inference.GRPCInferenceService/"
RAW = PICTURE.tobytes()
SHAPES: Mapping[str, list[int]] = {
    "one dimension": [784],
    "four dimensions": [1, 1, 28, 28],
    "no dimensions": [],
    "ten thousand dimensions": [1] * 10_000,
    "a wrong size": [1, 28, 27],
    "a negative size": [1, 28, -28],
    "negative rows": [-1, 28, 28],
    "the least int64": [-(2**63), 28, 28],
    "sizes that overflow": [1, 2**62, 2**62],
    "no rows": [0, 28, 28],
}
# The parameter's name, its field in the message, its value.
PARAMETERS: list[tuple[str, str, Any]] = [
    ("timeout_ms", "double_param", float("nan")),
    ("timeout_ms", "double_param", float("inf")),
    ("timeout_ms", "int64_param", -1),
    ("timeout_ms", "int64_param", 2**63 - 1),
    ("timeout_ms", "uint64_param", 2**64 - 1),
    ("timeout_ms", "string_param", "abc"),
    ("timeout_ms", "string_param", "1e999"),
    ("timeout_ms", "string_param", "é" * 5000),
    ("timeout_ms", "bool_param", True),
    ("timeout", "int64_param", -(2**63)),
    ("min_confidence", "double_param", 2.0),
    ("min_confidence", "int64_param", 2),
    ("energy_mj", "double_param", -1.0),
    ("no_cache", "string_param", "maybe"),
    ("no_cache", "int64_param", 2),
]
# Changes to a good request -> words of the sentence.
NAMES: Mapping[str, tuple[dict[str, str], str]] = {
    "an unknown route": ({"model_name": "nothing"}, "'nothing'"),
    "no route": ({"model_name": ""}, "''"),
    "a way out": ({"model_name": "../../etc"}, "'../../etc'"),
    "a NUL": ({"model_name": "tiny\0"}, "x00"),
    "line ends": ({"model_name": "tiny\r\nx: y"}, "tiny"),
    "10 kB of a route": ({"model_name": "r" * 10_240}, "rrr"),
    "10 kB of a route beyond ASCII": ({"model_name": "🙈" * 2_560}, "🙈🙈🙈"),
    "an unknown task": ({"model_name": "auto:nothing"}, "'nothing'"),
    "an unknown version": ({"model_version": "9"}, "no version '9'"),
    "10 kB of a version": ({"model_version": "9" * 10_240}, "no version"),
}


def make_request(raw: bytes | None = RAW, **changes: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 28, 28])
    if raw is not None:
        request.raw_input_contents.append(raw)
    for name, value in changes.items():
        setattr(request, name, value)
    return request


@pytest.fixture(scope="module")
def channel(victim: Victim) -> Iterator[Any]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(victim.server.grpc_address, options=options) as opened:
        yield opened


class Caller:
    """Calls the victim and looks at it afterwards."""

    def __init__(self, victim: Victim, channel: Any) -> None:
        self.victim = victim
        self.channel = channel

    def call(self, raw: bytes, method: str = "ModelInfer", **options: Any) -> bytes:
        call = self.channel.unary_unary(SERVICE + method)
        answer: bytes = call(raw, timeout=10, **options)
        return answer

    def check_refused(
        self, request: Any, code: grpc.StatusCode, *words: str, **options: Any
    ) -> None:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        with pytest.raises(grpc.RpcError) as refusal:
            self.call(raw, **options)
        assert refusal.value.code() is code, refusal.value
        sentence = refusal.value.details()
        assert 10 < len(sentence) <= 1000
        for word in words:
            assert word in sentence
        self.check_unharmed()

    def check_unharmed(self) -> None:
        answer = service_pb2.ModelInferResponse.FromString(
            self.call(make_request().SerializeToString())
        )
        assert answer.raw_output_contents
        ready = self.call(service_pb2.ServerReadyRequest().SerializeToString(), "ServerReady")
        assert service_pb2.ServerReadyResponse.FromString(ready).ready
        self.victim.check_unharmed()


@pytest.fixture
def caller(victim: Victim, channel: Any) -> Caller:
    return Caller(victim, channel)


INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_bad_shape_is_refused(caller: Caller, shape: list[int], typed: bool) -> None:
    request = make_request(None if typed else RAW)
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend(shape)
    if typed:
        request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.shape: given")


@pytest.mark.parametrize("datatype", ["FP32", "uint8", "", "BYTES", "U" * 10_000])
def test_a_wrong_datatype_is_refused(caller: Caller, datatype: str) -> None:
    request = make_request()
    request.inputs[0].datatype = datatype
    caller.check_refused(request, INVALID, "inputs.image.datatype: given", "allowed UINT8")


@pytest.mark.parametrize("rows", [1, 2, 2**31, 2**62])
def test_raw_bytes_that_are_not_the_shape_are_refused(caller: Caller, rows: int) -> None:
    request = make_request(RAW[:-1])
    request.inputs[0].shape[0] = rows
    caller.check_refused(request, INVALID, "inputs.image: given 783 bytes", str(rows * 784))


@pytest.mark.parametrize("rows", [2, 2**31, 2**62])
def test_typed_contents_that_are_not_the_shape_are_refused(caller: Caller, rows: int) -> None:
    request = make_request(None)
    request.inputs[0].shape[0] = rows
    request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.contents.uint_contents: given 784")


def test_a_batch_over_the_limit_is_refused(caller: Caller) -> None:
    request = make_request(RAW * 257)
    request.inputs[0].shape[0] = 257
    caller.check_refused(
        request, grpc.StatusCode.RESOURCE_EXHAUSTED, "inputs: given 257 rows", "256"
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("uint_contents", [256] + [0] * 783),
        ("uint_contents", [2**32 - 1] * 784),
        ("int_contents", [0] * 784),
        ("fp32_contents", [float("nan")] * 784),
        ("bytes_contents", [b"x"]),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(
    caller: Caller, field: str, values: list[Any]
) -> None:
    request = make_request(None)
    getattr(request.inputs[0].contents, field).extend(values)
    caller.check_refused(request, INVALID, "inputs.image.contents", "UINT8")


def test_raw_and_typed_contents_together_are_refused(caller: Caller) -> None:
    request = make_request()
    request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.contents", "raw_input_contents")


def test_neither_raw_nor_typed_contents_are_refused(caller: Caller) -> None:
    caller.check_refused(make_request(None), INVALID, "inputs.image.contents: given nothing")


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_too_few_or_too_many_raw_contents_are_refused(caller: Caller, count: int) -> None:
    request = make_request(None)
    request.inputs.add(name="sound", datatype="UINT8", shape=[1])
    request.raw_input_contents.extend([b"x"] * count)
    caller.check_refused(request, INVALID, "raw_input_contents: given", "2 inputs")


@pytest.mark.parametrize(("name", "words"), [("image", "'image' twice"), ("sound", "'sound'")])
def test_an_input_twice_or_unknown_is_refused(caller: Caller, name: str, words: str) -> None:
    request = make_request()
    request.inputs.add(name=name, datatype="UINT8", shape=[1, 28, 28])
    request.raw_input_contents.append(RAW)
    caller.check_refused(request, INVALID, "inputs", words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nothing"], "'nothing'"),
        ([""], "''"),
        (["label"] * 2, "'label' twice"),
        (["n" * 10_000], "10000"),
    ],
)
def test_an_output_twice_or_unknown_is_refused(
    caller: Caller, names: list[str], words: str
) -> None:
    request = make_request()
    for name in names:
        request.outputs.add(name=name)
    caller.check_refused(request, INVALID, "outputs: given", words)


@pytest.mark.parametrize(("name", "field", "value"), PARAMETERS, ids=lambda text: str(text)[:24])
def test_a_hostile_parameter_is_refused_by_name(
    caller: Caller, name: str, field: str, value: Any
) -> None:
    request = make_request()
    setattr(request.parameters[name], field, value)
    caller.check_refused(request, INVALID, f"parameters.{name}: given")


@pytest.mark.parametrize(("changes", "words"), NAMES.values(), ids=NAMES.keys())
def test_an_unknown_name_is_not_found(caller: Caller, changes: dict[str, str], words: str) -> None:
    caller.check_refused(make_request(RAW, **changes), grpc.StatusCode.NOT_FOUND, words)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\1\0\0",
        struct.pack("<I", 5) + b"four",
        struct.pack("<I", 3) + b"four",
        struct.pack("<I", 2**32 - 1) + b"four",
    ],
)
def test_lying_lengths_of_bytes_are_refused(caller: Caller, blob: bytes) -> None:
    request = service_pb2.ModelInferRequest(model_name="text")
    request.inputs.add(name="words", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(blob)
    caller.check_refused(request, INVALID, "inputs.words", "BYTES")


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", RAW, b"\x0a\x7f" + b"a"])
def test_what_is_no_protobuf_is_refused(caller: Caller, raw: bytes) -> None:
    caller.check_refused(raw, INVALID, "no protobuf message for ModelInfer")


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
    assert "no protobuf message" in told[""]
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
