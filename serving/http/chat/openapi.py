"""The part of the OpenAPI document about chats, as a literal; tests compare it with responses."""

from collections.abc import Mapping
from typing import Any

Node = dict[str, Any]  # a part of a JSON document

_TEXT: Node = {"type": "string"}
_COUNT: Node = {"type": "integer", "minimum": 0}
_NUMBER: Node = {"type": "number"}
_FLAG: Node = {"type": "boolean"}

_PART: Node = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"const": "text"}, "text": _TEXT},
            "required": ["type", "text"],
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "image_url"},
                "image_url": {
                    "type": "object",
                    "properties": {
                        "url": {"type": "string", "description": "A data URL of a PNG or JPEG."}
                    },
                    "required": ["url"],
                },
            },
            "required": ["type", "image_url"],
        },
    ]
}
_CHOICE: Node = {
    "type": "object",
    "properties": {
        "index": {"const": 0},
        "message": {
            "type": "object",
            "properties": {"role": {"const": "assistant"}, "content": _TEXT},
            "required": ["role", "content"],
        },
        "finish_reason": {"enum": ["stop", "length"]},
    },
    "required": ["index", "message", "finish_reason"],
}
_USAGE: Node = {
    "type": "object",
    "properties": {
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "visual_tokens": _COUNT,
        "visual_tokens_by_layer": {"type": "array", "items": _COUNT},
        "time_to_first_token_ms": _NUMBER,
        "latency_ms": _NUMBER,
        "energy_j": {"type": ["number", "null"]},
        "stopped_by": _TEXT,
    },
    "required": ["prompt_tokens", "completion_tokens", "total_tokens", "visual_tokens"],
}

SCHEMAS: Mapping[str, Node] = {
    "ChatRequest": {
        "type": "object",
        "description": "OpenAI's chat completion, and the route's own parameters.",
        "properties": {
            "model": {"type": "string", "description": "A route of GET /v1/models."},
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "role": {"enum": ["system", "developer", "user", "assistant"]},
                        "content": {"anyOf": [_TEXT, {"type": "array", "items": _PART}]},
                    },
                    "required": ["role", "content"],
                },
            },
            "stream": _FLAG,
            "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
            "max_tokens": {"type": "integer", "minimum": 1},
            "max_completion_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2},
            "top_p": {"type": "number", "minimum": 0, "maximum": 1},
            "seed": {"type": "integer"},
            "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}]},
            "visual_tokens": _NUMBER,
            "timeout_ms": _NUMBER,
            "energy_mj": _NUMBER,
            "no_cache": _FLAG,
        },
        "required": ["model", "messages"],
    },
    "ChatCompletion": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "object": {"const": "chat.completion"},
            "created": _COUNT,
            "model": _TEXT,
            "system_fingerprint": _TEXT,
            "choices": {"type": "array", "items": _CHOICE, "minItems": 1, "maxItems": 1},
            "usage": _USAGE,
        },
        "required": ["id", "object", "created", "model", "choices", "usage"],
    },
    "ChatError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": _TEXT,
                    "type": {"enum": ["invalid_request_error", "rate_limit_error", "server_error"]},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
                "required": ["message", "type", "param", "code"],
            }
        },
        "required": ["error"],
    },
    "ChatModels": {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": _TEXT,
                        "object": {"const": "model"},
                        "created": _COUNT,
                        "owned_by": _TEXT,
                    },
                    "required": ["id", "object", "created", "owned_by"],
                },
            },
        },
        "required": ["object", "data"],
    },
}


def describe_paths(failures: Mapping[str, str]) -> Node:
    """Return the paths; `failures`: what each status means."""
    return {
        "/v1/chat/completions": {
            "post": {
                "summary": "Answer a chat about pictures, in OpenAI's shape.",
                "description": "With stream, the answer is server-sent events.",
                "requestBody": {"required": True, "content": _json("ChatRequest")},
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {
                            **_json("ChatCompletion"),
                            "text/event-stream": {"schema": _TEXT},
                        },
                    },
                    **{
                        status: {"description": text, "content": _json("ChatError")}
                        for status, text in failures.items()
                    },
                },
            }
        },
        "/v1/models": {
            "get": {
                "summary": "The routes that answer chats, in OpenAI's shape.",
                "responses": {"200": {"description": "OK", "content": _json("ChatModels")}},
            }
        },
    }


def _json(name: str) -> Node:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
