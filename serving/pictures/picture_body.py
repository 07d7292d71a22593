"""Splits a body into picture files: one PNG or JPEG, or a JSON list of them in base64.

A list is split at its quotes, never parsed as a whole: its items are counted before any object is
built. Each step is small, so that other threads can run between. `base64_text` decodes the items.
"""

import re
from collections.abc import Iterator

import orjson

from core.errors import InvalidInput
from serving.oip.tensors import shorten
from serving.pictures.base64_text import MalformedText, decode_text
from serving.pictures.pictures import Pause

MAX_PICTURES = 256  # in one request

_BLANKS = re.compile(rb"[ \t\n\r]*")
_WINDOW_BYTES = 2**20  # of blanks, skipped at once
_EXPLAINED_BYTES = 2**18  # longer invalid lists are not parsed to find the fault


def is_list(body: bytes) -> bool:
    return body[:1] in b" \t\r\n["


def count_pictures(body: bytes) -> int:
    """Return how many pictures a body may hold, estimated from the quotes at its beginning."""
    if not is_list(body):
        return 1
    quotes = at = 0
    while quotes < 2 * MAX_PICTURES and (at := body.find(b'"', at) + 1) > 0:
        quotes += 1
    return max(1, quotes // 2)


class _MalformedList(Exception):
    """The body is not a list of base64 texts from this byte on."""


def split_body(body: bytes, pause: Pause | None = None) -> list[bytes]:
    """Return the body's picture files. Raises InvalidInput."""
    start = _skip_blanks(body, 0)
    if body[start : start + 1] != b"[":
        return [body]
    files: list[bytes] = []
    try:
        for text in _split_list(body, start + 1):
            if len(files) == MAX_PICTURES:
                raise _MalformedList
            files.append(decode_text(text, len(files), pause))
    except (_MalformedList, MalformedText):
        raise _explain(body, len(files)) from None
    return files


def _split_list(body: bytes, at: int) -> Iterator[memoryview]:
    """Yield the texts between quotes; `at` is the position after the opening bracket."""
    view = memoryview(body)
    while True:
        at = _skip_blanks(body, at)
        end = body.find(b'"', at + 1)
        if body[at : at + 1] != b'"' or end < 0:
            raise _MalformedList
        yield view[at + 1 : end]
        at = _skip_blanks(body, end + 1)
        mark = body[at : at + 1]
        if mark == b"]" and _skip_blanks(body, at + 1) == len(body):
            return
        if mark != b",":
            raise _MalformedList
        at += 1


def _skip_blanks(body: bytes, at: int) -> int:
    while True:
        found = _BLANKS.match(body, at, at + _WINDOW_BYTES)
        assert found is not None
        if found.end() < at + _WINDOW_BYTES:
            return found.end()
        at = found.end()


def _explain(body: bytes, place: int) -> InvalidInput:
    """Return the error of an invalid list whose first `place` pictures were valid."""
    if len(body) > _EXPLAINED_BYTES:
        if place == MAX_PICTURES:
            return InvalidInput(f"pictures: given more than {place}, allowed 1 to {place}")
        return InvalidInput(f"pictures[{place}]: not base64 text, or the list is not JSON")
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return InvalidInput(f"body: not JSON: {error}")
    if not 0 < len(items) <= MAX_PICTURES:
        return InvalidInput(f"pictures: given {len(items)}, allowed 1 to {MAX_PICTURES}")
    for number, item in enumerate(items):
        if not isinstance(item, str):
            return InvalidInput(
                f"pictures[{number}]: given {shorten(item)}, allowed base64 text or a data: URL"
            )
    place = min(place, len(items) - 1)
    return InvalidInput(f"pictures[{place}]: given {shorten(items[place])}, not base64")
