"""What each error of the tree is in HTTP. The one place where an error meets a status."""

import math
from collections.abc import Mapping

import orjson

from core.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    ModelDirectoryError,
    Overloaded,
    RouteUnavailable,
    SparingError,
    StageFailed,
    Unauthorized,
    UnknownRoute,
    UnsupportedEncoding,
)
from serving.oip_http import JSON_TYPE, Headers

STATUS: Mapping[type[SparingError], int] = {
    InvalidInput: 400,
    BodyTooLarge: 413,
    UnsupportedEncoding: 415,
    Unauthorized: 401,
    UnknownRoute: 404,
    Overloaded: 429,
    DeadlineExceeded: 504,
    RouteUnavailable: 503,
    StageFailed: 500,
    ModelDirectoryError: 503,
}

Response = tuple[int, Headers, bytes]  # status, headers without content length, body


def refuse(error: SparingError) -> Response:
    """The response for an error that a caller may be told."""
    status = STATUS[type(error)]
    headers = [JSON_TYPE]
    if isinstance(error, Overloaded | RouteUnavailable):
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    elif isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, say(str(error))


def say(sentence: str) -> bytes:
    """An error's body."""
    return orjson.dumps({"error": sentence.encode(errors="replace").decode()})
