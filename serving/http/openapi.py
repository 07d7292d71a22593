"""The OpenAPI document of the HTTP endpoint, as a literal; tests compare it with real responses."""

from collections.abc import Iterable, Mapping
from typing import Any

from core.manifest import Manifest
from serving.http.chat import openapi as chat
from serving.oip.label_lists import ALL, DEFAULT_VIEW, MAX_TOP

Node = dict[str, Any]  # a part of a JSON document

_TEXT: Node = {"type": "string"}
_NUMBER: Node = {"type": "number"}
_COUNT: Node = {"type": "integer", "minimum": 0}
_FLAG: Node = {"type": "boolean"}
_SHAPE: Node = {"type": "array", "items": {"type": "integer", "minimum": -1}}

_LENGTH: Node = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Length of the JSON in bytes; the inputs' bytes follow it.",
    "schema": _COUNT,
}
_OWN_PARAMETERS = (
    "A route's own parameters stand in the schema Parameters.<route> and in GET /v1/routes."
)

FAILURES: Mapping[str, str] = {
    "400": "The request is invalid; the error names the field, what was given and what is allowed.",
    "401": "The server needs a bearer token, which is missing or wrong.",
    "404": "The route or version is not served.",
    "413": "The request is larger than the server's limits.",
    "415": "The body is compressed, which this server does not accept.",
    "429": "A queue is full; try again after Retry-After seconds.",
    "500": "The model failed for this request.",
    "503": "The route or the server cannot answer now; try again after Retry-After seconds.",
    "504": "The answer was not ready before the deadline.",
}


def make_document(version: str, manifests: Iterable[Manifest] = ()) -> Node:
    """Return the whole document, with the parameters that the served routes declare."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sparing",
            "version": version,
            "description": "Adaptive inference over the Open Inference Protocol v2.",
        },
        "paths": {**_operations(), **_routes(), **chat.describe_paths(FAILURES), **_models()},
        "components": {"schemas": {**_SCHEMAS, **chat.SCHEMAS, **_describe_parameters(manifests)}},
    }


def _describe_parameters(manifests: Iterable[Manifest]) -> Node:
    return {
        f"Parameters.{manifest.route}": {
            "type": "object",
            "properties": {name: spec.schema_of() for name, spec in manifest.parameters.items()},
        }
        for manifest in manifests
        if manifest.parameters
    }


def _operations() -> Node:
    paths = {
        path: _get("The server is alive.", _object(live=_FLAG))
        for path in ("/livez", "/v2/health/live")
    }
    for path in ("/readyz", "/v2/health/ready"):
        paths[path] = _get("The server takes requests.", _ref("Readiness"), "503")
    paths["/metrics"] = {
        "get": {
            "summary": "Prometheus metrics.",
            "responses": {
                "200": {"description": "OK", "content": {"text/plain": {"schema": _TEXT}}}
            },
        }
    }
    paths["/openapi.json"] = _get("This document.", {"type": "object"})
    paths["/v2/models/stats"] = _get("Counts of every route.", _ref("Statistics"), "400")
    paths["/v2/repository/index"] = {
        "post": {
            "summary": "The served versions. Load and unload are not offered.",
            "responses": _responses(_list(_ref("IndexEntry"))),
        }
    }
    paths["/v2"] = _get("Name, version and protocol extensions of the server.", _ref("Server"))
    return paths


def _routes() -> Node:
    pictures = {
        "image/png": {"schema": {"type": "string", "format": "binary"}},
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {
            "schema": {
                "type": "array",
                "items": {"type": "string", "description": "Base64, or a data: URL of it."},
                "minItems": 1,
                "maxItems": 256,
            }
        },
    }
    query = [
        _query("version", "The route's version; the newest by default.", _TEXT),
        _query("timeout_ms", "How long the answer may take, in milliseconds.", _NUMBER),
        _query("energy_mj", "The energy budget for each picture, in millijoules.", _NUMBER),
        _query("min_confidence", "The lowest confidence of an early exit, 0 to 1.", _NUMBER),
        _query("no_cache", "Compute the answer anew, and store nothing.", _FLAG),
    ]
    top_k = _query(
        "top_k",
        f"How many of the best labels `top` lists, {DEFAULT_VIEW.top} by default. With `{ALL}`, the"
        " answer has the `probabilities` of all classes instead, in their order.",
        {"type": "string", "pattern": f"^([1-9][0-9]?|{MAX_TOP}|{ALL})$"},
    )
    return {
        "/v1/routes": _get(
            "The served routes, with their stages, thresholds and live figures.",
            _object(routes=_list(_ref("Route"))),
        ),
        "/v1/routes/{route}/predict": {
            "parameters": [_path("route")],
            "post": {
                "summary": "Answer one picture, or a list of pictures.",
                "description": f"{_OWN_PARAMETERS} In a query, a list is a JSON list's text.",
                "parameters": [*query, top_k],
                "requestBody": {"required": True, "content": pictures},
                "responses": _responses(_ref("Prediction"), *FAILURES),
            },
        },
        "/v1/routes/{route}/explain": {
            "parameters": [_path("route")],
            "post": _explain(pictures, query),
        },
    }


def _explain(pictures: Node, query: list[Node]) -> Node:
    responses = _responses(_ref("Explanation"), *FAILURES)
    responses["200"]["content"]["image/png"] = pictures["image/png"]
    responses["406"] = {
        "description": "The client accepts only image/png, and the route draws no picture.",
        "content": _json(_ref("Error")),
    }
    either = [pictures["application/json"]["schema"], _ref("InferRequest")]
    return {
        "summary": "Answer one input, and explain its path through the stages.",
        "description": "The body of a prediction with one picture, or of an inference with one row."
        " An error after the request's admission comes with the path so far.",
        "parameters": [*query, _LENGTH],
        "requestBody": {
            "required": True,
            "content": {
                **pictures,
                "application/json": {"schema": {"anyOf": either}},
                "application/octet-stream": pictures["image/png"],
            },
        },
        "responses": responses,
    }


def _models() -> Node:
    paths: Node = {}
    for prefix, parameters in (
        ("/v2/models/{route}", [_path("route")]),
        ("/v2/models/{route}/versions/{version}", [_path("route"), _path("version")]),
    ):
        paths[prefix] = _get("Inputs and outputs of a route.", _ref("Model"), "404")
        paths[f"{prefix}/ready"] = _get(
            "The route takes requests.", _ref("Readiness"), "404", "503"
        )
        paths[f"{prefix}/stats"] = _get("Counts of a route.", _ref("Statistics"), "400", "404")
        paths[f"{prefix}/infer"] = {"post": _infer()}
        for path in (prefix, f"{prefix}/ready", f"{prefix}/stats", f"{prefix}/infer"):
            paths[path]["parameters"] = parameters
    return paths


def _infer() -> Node:
    binary = {"schema": {"type": "string", "format": "binary"}}
    responses = _responses(_ref("InferResponse"), *FAILURES)
    responses["200"]["content"]["application/octet-stream"] = binary
    return {
        "summary": "Answer tensors, as JSON or with the binary tensor extension.",
        "parameters": [_LENGTH],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferRequest")},
                "application/octet-stream": binary,
            },
        },
        "responses": responses,
    }


def _get(summary: str, schema: Node, *failures: str) -> Node:
    return {"get": {"summary": summary, "responses": _responses(schema, *failures)}}


def _responses(schema: Node, *failures: str) -> Node:
    responses: Node = {"200": {"description": "OK", "content": _json(schema)}}
    for status in failures:
        responses[status] = {"description": FAILURES[status], "content": _json(_ref("Error"))}
    return responses


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Node) -> Node:
    return {"type": "array", "items": items}


def _object(optional: Mapping[str, Node] | None = None, /, **required: Node) -> Node:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required)}


def _path(name: str) -> Node:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _query(name: str, description: str, schema: Node) -> Node:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_SPEC = _object(name=_TEXT, datatype=_TEXT, shape=_SHAPE)
_REPLY: Node = {
    "route": _TEXT,
    "version": _TEXT,
    "digest": _TEXT,
    "energy_source": _TEXT,
    "certificate": _TEXT,
}
_SIMILAR: Node = {
    "type": "string",
    "description": "Rows that got the answer of a similar picture, such as 0,2.",
}
_DATA: Node = {"type": "array"}
_DURATION = _object(count=_COUNT, ns=_COUNT)
_COMPUTE: Node = {
    "compute_input": _DURATION,
    "compute_infer": _DURATION,
    "compute_output": _DURATION,
}
_PARAMETERS: Node = {"type": "object"}
_OPTIONAL_NUMBER: Node = {"type": ["number", "null"]}
_PRECISION: Node = {
    "enum": ["float32", "int8", None],
    "description": "Which file runs of a stage with two; null: it has one.",
}
_STOPPED_BY: Node = {"enum": ["confidence", "last_stage", "deadline", "energy", "cache"]}
_BEST = _list(_object({"label_name": _TEXT}, label=_COUNT, probability=_NUMBER))
_ANSWER = _object(
    {
        "label": {"type": "integer"},
        "label_name": _TEXT,
        "labels": _BEST,
        "top": _BEST,
        "probabilities": _list(_NUMBER),
        "similar": {"const": True},
    },
    confidence=_NUMBER,
    exit=_TEXT,
    stopped_by=_STOPPED_BY,
    cached=_FLAG,
    macs=_COUNT,
    energy_mj=_OPTIONAL_NUMBER,
    latency_ms=_NUMBER,
)

_SCHEMAS: Mapping[str, Node] = {
    "Error": _object({"explanation": _ref("Explanation")}, error=_TEXT),
    "Explanation": _object(
        {"energy_source": _TEXT, "answer": _ANSWER, "why": _TEXT},
        route=_TEXT,
        version=_TEXT,
        digest=_TEXT,
        pipeline=_TEXT,
        certificate=_TEXT,
        parameters={"type": "object"},
        cache=_object(
            state={"enum": ["hit", "similar", "miss", "joined", "not used"]},
            tier={"enum": [None, 1, 2]},
            stored=_FLAG,
        ),
        stages=_list(
            _object(
                stage=_TEXT,
                precision=_PRECISION,
                result={"enum": ["answered", "continued", "failed"]},
                passed=_FLAG,
                next={"type": ["string", "null"]},
                threshold=_OPTIONAL_NUMBER,
                confidence=_OPTIONAL_NUMBER,
                outputs={"type": "object"},
                queue_ms=_NUMBER,
                device_ms=_NUMBER,
                cpu_ms=_NUMBER,
                batch_rows=_COUNT,
                macs=_COUNT,
                energy_mj=_OPTIONAL_NUMBER,
            )
        ),
        not_run=_list(_TEXT),
        runs_dropped=_COUNT,
    ),
    "Readiness": _object({"name": _TEXT, "error": _TEXT}, ready=_FLAG),
    "Server": _object(name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "Model": _object(
        {"parameters": _PARAMETERS},
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_list(_SPEC),
        outputs=_list(_SPEC),
    ),
    "IndexEntry": _object(name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT),
    "Statistics": _object(
        model_stats=_list(
            _object(
                name=_TEXT,
                version=_TEXT,
                last_inference=_COUNT,
                inference_count=_COUNT,
                execution_count=_COUNT,
                inference_stats=_object(
                    success=_DURATION,
                    fail=_DURATION,
                    queue=_DURATION,
                    cache_hit=_DURATION,
                    cache_miss=_DURATION,
                    **_COMPUTE,
                ),
                batch_stats=_list(_object(batch_size=_COUNT, **_COMPUTE)),
            )
        )
    ),
    "Route": _object(
        {"labels": _list(_TEXT), "picture": {"type": ["object", "null"]}},
        route=_TEXT,
        version=_TEXT,
        task=_TEXT,
        pipeline=_TEXT,
        description=_TEXT,
        digest=_TEXT,
        certificate=_TEXT,
        expected_macs=_NUMBER,
        full_macs=_COUNT,
        draws=_FLAG,
        chats=_FLAG,
        stages=_list(_object(name=_TEXT, file=_TEXT, macs=_COUNT, precision=_PRECISION)),
        inputs=_list(_SPEC),
        outputs=_list(_SPEC),
        explanations=_list(_SPEC),
        parameters={"type": "object"},
        cache=_object(enabled=_FLAG, ttl_s=_NUMBER, perceptual={"type": ["object", "null"]}),
        rollout={"type": ["object", "null"]},
        profile={"type": "object"},
    ),
    "InferRequest": _object(
        {
            "id": _TEXT,
            "parameters": {
                "type": "object",
                "description": _OWN_PARAMETERS,
                "properties": {
                    "timeout_ms": {"type": ["number", "string"]},
                    "timeout": {"type": ["number", "string"], "description": "Microseconds."},
                    "energy_mj": {"type": ["number", "string"]},
                    "min_confidence": {"type": ["number", "string"]},
                    "no_cache": {"type": ["boolean", "string"]},
                    "partial": {"type": ["boolean", "string"]},
                    "binary_data_output": _FLAG,
                },
            },
            "outputs": _list(_object({"parameters": _PARAMETERS}, name=_TEXT)),
        },
        inputs=_list(
            _object(
                {"data": _DATA, "parameters": _PARAMETERS}, name=_TEXT, datatype=_TEXT, shape=_SHAPE
            )
        ),
    ),
    "InferResponse": _object(
        {"id": _TEXT},
        model_name=_TEXT,
        model_version=_TEXT,
        parameters=_object({"similar": _SIMILAR}, **_REPLY),
        outputs=_list(
            _object(
                {"data": _DATA, "parameters": _PARAMETERS}, name=_TEXT, datatype=_TEXT, shape=_SHAPE
            )
        ),
    ),
    "Prediction": _object(
        {"similar": _SIMILAR},
        **_REPLY,
        answers=_list(_ANSWER),
    ),
}
