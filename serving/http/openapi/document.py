"""The OpenAPI document of the HTTP endpoint, as a literal; tests compare it with real responses."""

from collections.abc import Iterable, Mapping, Sequence

from core.manifest import Manifest
from serving.http.chat import openapi as chat
from serving.http.openapi.examples import add_examples
from serving.http.openapi.schemas import (
    COUNT,
    FLAG,
    NUMBER,
    OWN_PARAMETERS,
    SCHEMAS,
    TEXT,
    Node,
    list_of,
    object_of,
    ref,
)
from serving.oip.label_lists import ALL, DEFAULT_VIEW, MAX_TOP

_LENGTH: Node = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Length of the JSON in bytes; the inputs' bytes follow it.",
    "schema": COUNT,
}

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

_TAGS: Mapping[str, str] = {
    "Routes and pictures": "What is served; answers to pictures, and their paths.",
    "Chats": "Vision-language routes, in the shape of OpenAI's API.",
    "Tensors": "The Open Inference Protocol v2, as KServe and Triton speak it.",
    "Server": "Health, metrics, and what the server is.",
}
_BEARER: Node = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of this server, where its operator has set one.",
}
_WITHOUT_TOKEN = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})


def make_document(version: str, manifests: Iterable[Manifest] = ()) -> Node:
    """Return the whole document, with the parameters that the served routes declare, and one of
    them as the example of a route.
    """
    served = list(manifests)
    paths = {**_routes(), **chat.describe_paths(FAILURES), **_models(), **_operations()}
    add_examples(paths)
    _add_tags(paths)
    _name_routes(paths, served)
    schemas = {**SCHEMAS, **chat.SCHEMAS, **_describe_parameters(served)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sparing",
            "version": version,
            "description": "Adaptive inference over the Open Inference Protocol v2.",
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{}, {"bearer": []}],  # whether a token is needed is the operator's choice
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": _BEARER}},
    }


def _add_tags(paths: Node) -> None:
    """Put each operation under a heading; those about health need no token."""
    for path, item in paths.items():
        for operation in (item[method] for method in ("get", "post") if method in item):
            operation["tags"] = [_find_tag(path)]
            if path in _WITHOUT_TOKEN:
                operation["security"] = []


def _find_tag(path: str) -> str:
    if path in {"/v1/chat/completions", "/v1/models"}:
        return "Chats"
    if path.startswith("/v1/routes"):
        return "Routes and pictures"
    return "Tensors" if path.startswith("/v2/models/{route}") else "Server"


def _name_routes(paths: Node, served: Sequence[Manifest]) -> None:
    """Make a served route the example of each path that names one."""
    for item in paths.values():
        for parameter in item.get("parameters", ()):
            if served and parameter["name"] == "route":
                parameter["example"] = served[0].route
            elif served and parameter["name"] == "version":
                parameter["example"] = served[0].version


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
        path: _get("The server is alive.", object_of(live=FLAG))
        for path in ("/livez", "/v2/health/live")
    }
    for path in ("/readyz", "/v2/health/ready"):
        paths[path] = _get("The server takes requests.", ref("Readiness"), "503")
    paths["/metrics"] = {
        "get": {
            "summary": "Prometheus metrics.",
            "responses": {
                "200": {"description": "OK", "content": {"text/plain": {"schema": TEXT}}}
            },
        }
    }
    paths["/openapi.json"] = _get("This document.", {"type": "object"})
    paths["/v2/models/stats"] = _get("Counts of every route.", ref("Statistics"), "400")
    paths["/v2/repository/index"] = {
        "post": {
            "summary": "The served versions. Load and unload are not offered.",
            "responses": _responses(list_of(ref("IndexEntry"))),
        }
    }
    paths["/v2"] = _get("Name, version and protocol extensions of the server.", ref("Server"))
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
        _query("version", "The route's version; the newest by default.", TEXT),
        _query("timeout_ms", "How long the answer may take, in milliseconds.", NUMBER),
        _query("energy_mj", "The energy budget for each picture, in millijoules.", NUMBER),
        _query("min_confidence", "The lowest confidence of an early exit, 0 to 1.", NUMBER),
        _query("no_cache", "Compute the answer anew, and store nothing.", FLAG),
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
            object_of(routes=list_of(ref("Route"))),
        ),
        "/v1/routes/{route}/predict": {
            "parameters": [_path("route")],
            "post": {
                "summary": "Answer one picture, or a list of pictures.",
                "description": f"{OWN_PARAMETERS} In a query, a list is a JSON list's text.",
                "parameters": [*query, top_k],
                "requestBody": {"required": True, "content": pictures},
                "responses": _responses(ref("Prediction"), *FAILURES),
            },
        },
        "/v1/routes/{route}/explain": {
            "parameters": [_path("route")],
            "post": _explain(pictures, query),
        },
    }


def _explain(pictures: Node, query: list[Node]) -> Node:
    responses = _responses(ref("Explanation"), *FAILURES)
    responses["200"]["content"]["image/png"] = pictures["image/png"]
    responses["406"] = {
        "description": "The client accepts only image/png, and the route draws no picture.",
        "content": _json(ref("Error")),
    }
    either = [pictures["application/json"]["schema"], ref("InferRequest")]
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
        paths[prefix] = _get("Inputs and outputs of a route.", ref("Model"), "404")
        paths[f"{prefix}/ready"] = _get("The route takes requests.", ref("Readiness"), "404", "503")
        paths[f"{prefix}/stats"] = _get("Counts of a route.", ref("Statistics"), "400", "404")
        paths[f"{prefix}/infer"] = {"post": _infer()}
        for path in (prefix, f"{prefix}/ready", f"{prefix}/stats", f"{prefix}/infer"):
            paths[path]["parameters"] = parameters
    return paths


def _infer() -> Node:
    binary = {"schema": {"type": "string", "format": "binary"}}
    responses = _responses(ref("InferResponse"), *FAILURES)
    responses["200"]["content"]["application/octet-stream"] = binary
    return {
        "summary": "Answer tensors, as JSON or with the binary tensor extension.",
        "parameters": [_LENGTH],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("InferRequest")},
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
        responses[status] = {"description": FAILURES[status], "content": _json(ref("Error"))}
    return responses


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _path(name: str) -> Node:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _query(name: str, description: str, schema: Node) -> Node:
    return {"name": name, "in": "query", "description": description, "schema": schema}
