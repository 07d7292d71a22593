"""An example of every request and answer, which a viewer of the document shows; tests hold them to
the schemas. They are of a route `clothes`, a cascade of two nets for pictures of 2 × 3 pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

from serving.http.openapi.schemas import Node

_REPLY: Node = {
    "route": "clothes",
    "version": "1",
    "digest": "b33cd1356e9e82fc837cc58627d4722e75a3e3d04f0e39631f273a6ba1d816cc",
    "energy_source": "rapl",
    "certificate": "none",
}
_COST: Node = {"macs": 721280, "energy_mj": 0.91, "latency_ms": 0.83}
_ANSWER: Node = {
    "confidence": 0.994,
    "exit": "small",
    "stopped_by": "confidence",
    "cached": False,
    **_COST,
    "label_name": "Boot",
    "label": 1,
    "top": [
        {"label_name": "Boot", "label": 1, "probability": 0.994},
        {"label_name": "Coat", "label": 0, "probability": 0.006},
    ],
    "probabilities": [0.006, 0.994],
}
_STAGE: Node = {
    "stage": "small",
    "precision": "int8",
    "result": "answered",
    "passed": True,
    "next": None,
    "threshold": 0.829,
    "confidence": 0.994,
    "outputs": {"label": 1, "label_name": "Boot", "probabilities": [0.006, 0.994]},
    "queue_ms": 0.02,
    "device_ms": 0.63,
    "cpu_ms": 0.62,
    "batch_rows": 1,
    "macs": 721280,
    "energy_mj": 0.91,
}
_TENSOR: Node = {
    "name": "image",
    "datatype": "UINT8",
    "shape": [1, 2, 3],
    "data": [0, 0, 204, 255, 204, 0],
}
_SPECS: Node = {
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ],
}
_ROUTE: Node = {
    "route": "clothes",
    "version": "1",
    "task": "classify-clothes",
    "pipeline": "dual-cnn",
    "description": "A cascade: small, then large where small is unsure.",
    "digest": _REPLY["digest"],
    "certificate": "none",
    "expected_macs": 5467689.2,
    "full_macs": 36353792,
    "draws": False,
    "chats": False,
    "stages": [
        {
            "name": name,
            "file": f"{name}-int8.onnx",
            "macs": macs,
            "max_batch": 64,
            "temperature": 1.0,
            "threshold": threshold,
            "precision": "int8",
        }
        for name, macs, threshold in (("small", 721280, 0.829), ("large", 36353792, None))
    ],
    **_SPECS,
    "explanations": [{"name": "confidence", "datatype": "FP32", "shape": [-1]}],
    "parameters": {},
    "labels": ["Coat", "Boot"],
    "picture": {
        "input": "image",
        "height": 2,
        "width": 3,
        "channels": 1,
        "resize": True,
        "background": 0,
    },
    "cache": {"enabled": True, "ttl_s": 3600.0, "perceptual": None},
    "rollout": None,
    "profile": {
        "small": {"waiting_rows": 0, "max_batch": 64, "one_row_ms": 0.6, "full_batch_ms": 6.1}
    },
}
_DURATION: Node = {"count": 12, "ns": 9960000}
_COMPUTE: Node = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), _DURATION)
_STATISTICS: Node = {
    "model_stats": [
        {
            "name": "clothes",
            "version": "1",
            "last_inference": 1764493200000,
            "inference_count": 12,
            "execution_count": 9,
            "inference_stats": {
                **dict.fromkeys(("success", "fail", "queue", "cache_hit", "cache_miss"), _DURATION),
                **_COMPUTE,
            },
            "batch_stats": [{"batch_size": 1, **_COMPUTE}],
        }
    ]
}
_READY: Node = {"name": "clothes", "ready": True}
_INFER: Node = {
    "inputs": [_TENSOR],
    "parameters": {"timeout_ms": 50, "min_confidence": 0.9},
    "outputs": [{"name": "label"}, {"name": "confidence"}, {"name": "exit"}],
}
_INFERRED: Node = {
    "model_name": "clothes",
    "model_version": "1",
    "parameters": _REPLY,
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
        {"name": "confidence", "datatype": "FP32", "shape": [1], "data": [0.994]},
        {"name": "exit", "datatype": "BYTES", "shape": [1], "data": ["small"]},
    ],
}
_PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAAAAAC4HznGAAAAEUlEQVR4nGM4c+Y/w38GBgAYgQRHVEqSeQAAAABJRU5ErkJggg=="  # noqa: E501
_CHAT: Node = {
    "model": "pictures",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it"},
                {"type": "image_url", "image_url": {"url": _PICTURE}},
            ],
        }
    ],
    "max_tokens": 16,
    "visual_tokens": 0.5,
}
_CHATTED: Node = {
    "id": "chatcmpl-5e0c6d9a8f0b4a7d9e2c1f3b",
    "object": "chat.completion",
    "created": 1764493200,
    "model": "pictures",
    "system_fingerprint": "b33cd1356e9e82fc",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a boot"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 21,
        "completion_tokens": 3,
        "total_tokens": 24,
        "visual_tokens": 16,
        "visual_tokens_by_layer": [16, 8, 4, 4],
        "time_to_first_token_ms": 41.2,
        "latency_ms": 58.9,
        "energy_j": 0.52,
        "stopped_by": "last_stage",
    },
}


class Example(NamedTuple):
    """The JSON of a request, None where it has none, and of its answer."""

    request: object
    answer: object


_MODEL = "/v2/models/{route}"
EXAMPLES: Mapping[str, Example] = {
    "/livez": Example(None, {"live": True}),
    "/v2/health/live": Example(None, {"live": True}),
    "/readyz": Example(None, {"ready": True}),
    "/v2/health/ready": Example(None, {"ready": True}),
    "/openapi.json": Example(None, {"openapi": "3.1.0"}),
    "/v2": Example(
        None,
        {"name": "sparing", "version": "0.1.0", "extensions": ["binary_tensor_data"]},
    ),
    "/v2/models/stats": Example(None, _STATISTICS),
    "/v2/repository/index": Example(
        None, [{"name": "clothes", "version": "1", "state": "READY", "reason": ""}]
    ),
    "/v1/routes": Example(None, {"routes": [_ROUTE]}),
    "/v1/routes/{route}/predict": Example([_PICTURE], {**_REPLY, "answers": [_ANSWER]}),
    "/v1/routes/{route}/explain": Example(
        [_PICTURE],
        {
            **_REPLY,
            "pipeline": "dual-cnn",
            "answer": _ANSWER,
            "why": "stage small ended the row with confidence 0.994, its threshold is 0.829",
            "parameters": {"no_cache": False},
            "cache": {"state": "miss", "tier": None, "stored": True},
            "stages": [_STAGE],
            "not_run": ["large"],
            "runs_dropped": 0,
        },
    ),
    "/v1/chat/completions": Example(_CHAT, _CHATTED),
    "/v1/models": Example(
        None,
        {
            "object": "list",
            "data": [
                {"id": "pictures", "object": "model", "created": 1764493200, "owned_by": "sparing"}
            ],
        },
    ),
    **{
        prefix + path: example
        for prefix in (_MODEL, f"{_MODEL}/versions/{{version}}")
        for path, example in {
            "": Example(
                None,
                {"name": "clothes", "versions": ["1"], "platform": "dual-cnn", **_SPECS},
            ),
            "/ready": Example(None, _READY),
            "/stats": Example(None, _STATISTICS),
            "/infer": Example(_INFER, _INFERRED),
        }.items()
    },
}
_ERROR: Node = {"error": "body: given 0 bytes, allowed a PNG or JPEG picture"}
_CHAT_ERROR: Node = {
    "error": {
        "message": "model 'clothes' answers no chats; GET /v1/models lists those that do",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
}
_METRICS = 'sparing_requests_total{result="ok",route="clothes"} 12.0\n'


def add_examples(paths: Node) -> None:
    """Add the examples to the operations of a document."""
    for path, item in paths.items():
        for method in ("get", "post"):
            if method in item:
                _add(item[method], EXAMPLES.get(path), _CHAT_ERROR if "/chat/" in path else _ERROR)
    metrics = paths["/metrics"]["get"]["responses"]["200"]["content"]["text/plain"]
    metrics["example"] = _METRICS


def _add(operation: Node, example: Example | None, error: Node) -> None:
    for status, response in operation["responses"].items():
        content = response["content"].get("application/json")
        if content is None:
            continue
        if status == "200":
            assert example is not None, "every answer in JSON has an example"
            content["example"] = example.answer
        elif content["schema"].get("$ref", "").endswith("Error"):
            content["example"] = error
        else:
            content["example"] = {"ready": False, "error": "the server is shutting down"}
    if "requestBody" in operation:
        assert example is not None, "every request in JSON has an example"
        operation["requestBody"]["content"]["application/json"]["example"] = example.request
