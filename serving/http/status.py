"""The HTTP status of each error of the tree; the only place that maps errors to statuses."""

import math
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from core import errors
from serving.http.infer.tensor_body import JSON_TYPE, Headers

STATUS: Mapping[type[errors.SparingError], int] = {
    errors.InvalidInput: 400,
    errors.BodyTooLarge: 413,
    errors.UnsupportedEncoding: 415,
    errors.Unauthorized: 401,
    errors.UnknownRoute: 404,
    errors.Overloaded: 429,
    errors.RequestTimeout: 408,
    errors.DeadlineExceeded: 504,
    errors.RouteUnavailable: 503,
    errors.StageFailed: 500,
    errors.ModelDirectoryError: 503,
}

CLOSE = (b"connection", b"close")
_STATUS_LINES = {
    one.value: b"HTTP/1.1 %d %s\r\n" % (one, one.phrase.encode()) for one in HTTPStatus
}
Response = tuple[int, Headers, bytes]  # status, headers without content length, body


class Refused(Exception):
    """A response that ends a request before it reaches an endpoint."""

    def __init__(self, response: Response) -> None:
        super().__init__(response[0])
        self.response = response


def refuse_path(path: str) -> Refused:
    """Return a 404 response, to be raised."""
    sentence = f"{path[:200]}: no such path, GET /openapi.json lists them"
    return Refused((404, [JSON_TYPE], error_body(sentence)))


def refuse_method(given: str, allowed: str) -> Refused:
    """Return a 405 response, to be raised."""
    sentence = f"method: given {given[:20]}, allowed {allowed}"
    return Refused((405, [JSON_TYPE, (b"allow", allowed.encode())], error_body(sentence)))


def write_response(status: int, headers: Headers, body: bytes) -> bytes:
    """Return a response as the bytes of an HTTP/1.1 message."""
    head = b"".join([b"%s: %s\r\n" % header for header in headers])
    line = _STATUS_LINES[status]
    return b"%s%scontent-length: %d\r\n\r\n%s" % (line, head, len(body), body)


def refuse(error: errors.SparingError) -> Response:
    """Return the response for an error that the client may see."""
    status = STATUS[type(error)]
    headers = [JSON_TYPE]
    if isinstance(error, errors.Overloaded | errors.RouteUnavailable):
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    elif isinstance(error, errors.Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, errors.RequestTimeout):
        headers.append(CLOSE)  # further bytes are the rest of this request
    return status, headers, error_body(str(error))


def error_body(sentence: str) -> bytes:
    """Return an error's body."""
    return orjson.dumps({"error": sentence.encode(errors="replace").decode()})
