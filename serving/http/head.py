"""Checks a request's head before its meaning: HTTP version, host and target.

RFC 9112, sections 2.3, 3.2 and 6.1. What the parser itself refuses, such as invalid characters and
contradicting lengths, is not checked again.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

import httptools

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEADERS = 256  # lines in a head
_MAX_SHOWN = 80
# If one of these names came twice, it would be unclear which line counts.
_ONCE = frozenset(
    {
        b"host",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"inference-header-content-length",
    }
)
_OFFERS = frozenset({b"upgrade", b"http2-settings"})
_HOST = re.compile(rb"[^\x00-\x20\x7f-\xff\"#/<>?@\\^`{|}]*")


class RequestHead(NamedTuple):
    """A parsed head; names are in lower case."""

    method: bytes
    target: bytes
    version: str
    headers: Headers


class HeadFault(NamedTuple):
    """The response to an invalid head."""

    status: HTTPStatus
    sentence: str


def find_head_fault(head: RequestHead, header_map: Mapping[bytes, bytes]) -> HeadFault | None:
    """Return what is wrong with a head, None if it is valid. `header_map` holds the last value of
    each header.
    """
    if len(head.headers) > MAX_HEADERS:
        return HeadFault(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"headers: given {len(head.headers)}, allowed {MAX_HEADERS}",
        )
    if head.version not in {"1.0", "1.1"}:
        return HeadFault(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            f"request: not HTTP/1.1: given HTTP/{head.version}, allowed HTTP/1.0 and HTTP/1.1",
        )
    if head.version == "1.0" and b"transfer-encoding" in header_map:
        return _refuse("Transfer-Encoding: given in HTTP/1.0, allowed in HTTP/1.1")
    if len(header_map) != len(head.headers) and (repeated := _find_repeated(head.headers)):
        return _refuse(f"{repeated.decode().title()}: given more than once, allowed once")
    return _check_host(head.version, header_map.get(b"host")) or _check_target(head)


def _find_repeated(headers: Headers) -> bytes | None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in _ONCE and name in seen:
            return name
        seen.add(name)
    return None


def _check_host(version: str, host: bytes | None) -> HeadFault | None:
    if host is None:
        return _refuse("Host: not given, needed in HTTP/1.1") if version == "1.1" else None
    if _HOST.fullmatch(host) is None:
        return _refuse(f"Host: given {_show(host)}, allowed a name or an address, and a port")
    return None


def _check_target(head: RequestHead) -> HeadFault | None:
    if head.method == b"CONNECT":
        return _refuse("method: given CONNECT, allowed GET, HEAD or POST; CONNECT is for proxies")
    if head.target == b"*" and head.method == b"OPTIONS":
        return HeadFault(
            HTTPStatus.METHOD_NOT_ALLOWED, "method: given OPTIONS, allowed GET, HEAD or POST"
        )
    if read_target(head.target) is None:
        return _refuse(f"target: given {_show(head.target)}, allowed a path, such as /v2")
    return None


def read_target(target: bytes) -> bytes | None:
    """Return the path and query of a target in origin form or absolute form; None for other
    forms.
    """
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserError:
        return None
    if target.startswith(b"/"):
        return target if parsed.path else None
    if (parsed.schema or b"").lower() not in {b"http", b"https"} or not parsed.host:
        return None
    query = b"" if parsed.query is None else b"?" + parsed.query
    path: bytes = parsed.path or b"/"
    return path + query


def write_without_offers(head: RequestHead) -> bytes:
    """Return the head as bytes, without its offers of other protocols."""
    lines = [b"%s: %s\r\n" % (name, value) for name, value in head.headers if name not in _OFFERS]
    line = b"%s %s HTTP/%s\r\n" % (head.method, head.target, head.version.encode())
    return b"%s%s\r\n" % (line, b"".join(lines))


def _refuse(sentence: str) -> HeadFault:
    return HeadFault(HTTPStatus.BAD_REQUEST, sentence)


def _show(value: bytes) -> str:
    return repr(value[:_MAX_SHOWN].decode("latin-1"))
