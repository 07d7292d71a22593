"""Calls over gRPC, good but for what a test changes, and a caller who looks what they did."""

from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.clients.bad_input import PICTURE, Victim

SERVICE = "/inference.GRPCInferenceService/"
RAW = PICTURE.tobytes()


def make_request(raw: bytes | None = RAW, **changes: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 28, 28])
    if raw is not None:
        request.raw_input_contents.append(raw)
    for name, value in changes.items():
        setattr(request, name, value)
    return request


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
