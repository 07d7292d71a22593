"""Errors in OpenAI's shape, for the paths that have its shape."""

import re

import orjson

from core import errors
from serving.http.status import Refusal, error_body, refuse

PATHS = frozenset({"/v1/chat/completions", "/v1/models"})

_FIELD = re.compile(r"([A-Za-z_][\w.\[\]]*): ", re.ASCII)  # with which a sentence may begin
_CODES: dict[type[errors.SparingError], str] = {
    errors.UnknownRoute: "model_not_found",
    errors.Unauthorized: "invalid_api_key",
    errors.Overloaded: "overloaded",
    errors.DeadlineExceeded: "deadline_exceeded",
}


def refuse_as(path: str, error: errors.SparingError) -> Refusal:
    """Return the response for an error of a request to this path, in the path's own shape."""
    return refuse_openai(error) if path in PATHS else refuse(error)


def describe_failure(path: str, sentence: str) -> bytes:
    """Return the body of a response with status 500, in the path's own shape."""
    return describe_error(500, sentence) if path in PATHS else error_body(sentence)


def refuse_openai(error: errors.SparingError) -> Refusal:
    """Return the response for an error that the client may see."""
    status, headers, _ = refuse(error)
    return status, headers, describe_error(status, str(error), _CODES.get(type(error)))


def describe_error(status: int, sentence: str, code: str | None = None) -> bytes:
    """Return the body of an error."""
    field = _FIELD.match(sentence)
    if status == 429:
        kind = "rate_limit_error"
    else:
        kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "message": sentence.encode(errors="replace").decode(),
        "type": kind,
        "param": field[1] if field is not None and status == 400 else None,
        "code": code,
    }
    return orjson.dumps({"error": error})
