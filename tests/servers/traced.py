"""A traced server and its collector, for tests: requests that are followed, and what to expect."""

import http.client
import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import tritonclient.grpc as triton

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures
from tests.servers.otlp_receiver import OtlpReceiver, Span

INFER = "/v2/models/tiny/infer"
PICTURES = iter(make_pictures(200, seed=30))
CALLER = "b7ad6b7169203331"
_TRACES = itertools.count(1)


@dataclass
class Scene:
    """A server that follows only those whose caller does, and the collector it sends to."""

    server: LiveServer
    receiver: OtlpReceiver

    def post(self, path: str, body: bytes, traceparent: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=20)
        try:
            headers = {"traceparent": traceparent} if traceparent else {}
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def follow(self, path: str, body: bytes, status: int = 200) -> list[Span]:
        """The spans of a request over HTTP."""
        trace = new_trace()
        assert self.post(path, body, write_traceparent(trace))[0] == status
        return self.receiver.wait_for(trace)


def settings(endpoint: str, ratio: float) -> str:
    return f'[tracing]\nenabled = true\nsample_ratio = {ratio}\nendpoint = "{endpoint}"\n'


def new_trace() -> str:
    return f"{next(_TRACES):032x}"


def write_traceparent(trace: str, flags: str = "01") -> str:
    return f"00-{trace}-{CALLER}-{flags}"


def write_body(picture: np.ndarray[Any, Any], **parameters: object) -> bytes:
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 28, 28],
        "data": picture.ravel().tolist(),
    }
    return orjson.dumps({"inputs": [tensor], "parameters": parameters})


def make_tensor(picture: np.ndarray[Any, Any]) -> triton.InferInput:
    tensor = triton.InferInput("image", [1, 28, 28], "UINT8")
    tensor.set_data_from_numpy(picture[None])
    return tensor


COMPUTED = {
    "decode": 1, "cache": 1, "queue": 2, "stage stage0": 1, "stage stage1": 1, "encode": 1,
    "request": 1,
}  # fmt: skip
RECALLED = {"decode": 1, "cache": 1, "encode": 1, "request": 1}


def check(spans: list[Span], names: dict[str, int], **facts: str | int) -> Span:
    """These spans, one above all others, each within it; returns that one."""
    found = [span.name for span in spans]
    assert {name: found.count(name) for name in found} == names
    (root,) = [span for span in spans if span.of_server]
    assert root.name == "request"
    assert root.parent_id == CALLER
    assert root.facts == facts
    children = [span for span in spans if span is not root]
    assert {span.parent_id for span in children} == {root.span_id}
    assert len({span.span_id for span in spans}) == len(spans)
    for span in children:
        assert root.began_ns <= span.began_ns <= span.ended_ns <= root.ended_ns
        assert not span.failed
    assert abs(root.ended_ns / 1e9 - time.time()) < 60.0
    return root
