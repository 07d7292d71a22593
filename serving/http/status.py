"""The HTTP status of each error of the tree; the only place that maps errors to statuses."""

import math
import time
from collections.abc import AsyncGenerator, Mapping
from email.utils import formatdate
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

NOT_MODIFIED = 304
CLOSE = (b"connection", b"close")
_CHUNKED = b"transfer-encoding: chunked\r\n"
_CLOSED = b"connection: close\r\n\r\n"
_MAX_HEADS = 1024
Stream = AsyncGenerator[bytes, None]
# Status, headers without a length, and a body that is whole or comes in pieces.
Response = tuple[int, Headers, bytes | Stream]
Refusal = tuple[int, Headers, bytes]


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


class _Written:
    """What is written once: heads of responses, and in each second its date."""

    heads: dict[tuple[object, ...], bytes] = {}
    second = 0
    date = b""


def _write_head(status: int, headers: Headers) -> bytes:
    """Return a head without its length, `connection: close` and its last line."""
    name = (status, *headers)
    head = _Written.heads.get(name)
    if head is None:
        lines = b"".join([b"%s: %s\r\n" % pair for pair in headers if pair != CLOSE])
        head = b"HTTP/1.1 %d %s\r\n%s" % (status, HTTPStatus(status).phrase.encode(), lines)
        if len(_Written.heads) >= _MAX_HEADS:
            _Written.heads.clear()
        _Written.heads[name] = head
    now = time.time()
    if not 0.0 <= now - _Written.second < 1.0:
        _Written.second = int(now)
        _Written.date = b"date: %s\r\n" % formatdate(now, usegmt=True).encode()
    return head + _Written.date


def write_response(
    status: int, headers: Headers, body: bytes, *, close: bool = False, head_only: bool = False
) -> bytes:
    """Return a response as the bytes of an HTTP/1.1 message. The body of a 304 is the one that the
    client has, of which only the length is sent.
    """
    return b"%scontent-length: %d\r\n%s%s" % (
        _write_head(status, headers),
        len(body),
        _CLOSED if close else b"\r\n",
        b"" if head_only or status == NOT_MODIFIED else body,
    )


def write_stream_head(status: int, headers: Headers, *, chunked: bool, close: bool) -> bytes:
    """Return the head of a response whose body follows in pieces; without chunks, it ends with the
    connection.
    """
    framing = _CHUNKED if chunked else b""
    return _write_head(status, headers) + framing + (_CLOSED if close else b"\r\n")


def add_request_id(message: bytes, request_id: str) -> bytes:
    """Return a response, or its head, with the id that the client gave its request, if any."""
    if not request_id:
        return message
    return message.replace(b"\r\n", b"\r\nx-request-id: %s\r\n" % request_id.encode(), 1)


def refuse(error: errors.SparingError) -> Refusal:
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
