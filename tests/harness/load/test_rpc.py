"""gRPC load against the no-op server."""

import dataclasses
from pathlib import Path

import numpy as np
import uvloop

from harness.load.loadgen import Plan
from harness.load.rpc import INFER, call_once, encode_grpc, expect_label, load_grpc
from harness.load.traffic import Traffic, encode_label
from harness.servers import run_no_op
from serving.grpc.messages import Messages

PLAN = Plan(connections=4, seconds=20.0, warm_up_s=0.0, count=40)
PICTURE = np.arange(784, dtype=np.uint8).reshape(28, 28)


def test_the_no_op_answers_every_call_with_its_message_and_wrong_labels_are_seen(
    tmp_path: Path,
) -> None:
    message = Messages().infer_response(model_name="small-cnn")
    message.outputs.add(name="label", datatype="INT64", shape=[1])
    message.raw_output_contents.append(encode_label(7))
    reply = tmp_path / "reply.bin"
    reply.write_bytes(message.SerializeToString())
    body = encode_grpc("small-cnn", PICTURE)
    with run_no_op(reply) as server:
        assert call_once(server.grpc_port, body) == reply.read_bytes()
        port = server.grpc_port
        plan = dataclasses.replace(PLAN, server_pid=server.pid)
        right = uvloop.run(load_grpc(plan, Traffic([body], [expect_label(7)]), port, INFER))
        wrong = uvloop.run(load_grpc(PLAN, Traffic([body], [expect_label(6)]), port, INFER))
        lost = uvloop.run(load_grpc(PLAN, Traffic([body], [b""]), port, "/no.Such/Method"))
    assert right.requests >= 40
    assert (right.errors, right.wrong) == (0, 0)
    assert wrong.wrong >= 40
    assert lost.errors >= 40


def test_a_picture_travels_raw_in_the_protocols_message() -> None:
    request = Messages().infer_request.FromString(encode_grpc("small-cnn", PICTURE))
    assert request.model_name == "small-cnn"
    assert list(request.inputs[0].shape) == [1, 28, 28]
    assert request.raw_input_contents[0] == PICTURE.tobytes()
