"""Reads a long JSON text; checks how many objects it would make before it makes any.

Lists of numbers under the name `data` are cut out for `json_numbers`. The rest of a request is
short, unless its inputs are text: then its strings and lists are counted.
"""

import re
import secrets
from typing import Any

import numpy as np
import orjson

from core.errors import InvalidInput
from core.manifest import Manifest
from serving.http.infer.json_numbers import PIECE_BYTES, NumberText
from serving.oip.tensors import MAX_TEXTS, shorten

LARGE_BYTES = 64 * 2**10  # shorter texts are parsed at once
MAX_REST_BYTES = 256 * 2**10  # without lists of numbers, and without the strings of text inputs
MAX_DATA = 64  # members named `data`
MAX_QUOTES = 4 * MAX_TEXTS

_NAME = b'"data"'
_COLON = re.compile(rb"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}(?=\[)")
_IN_NUMBERS = np.zeros(256, dtype=np.bool_)
_IN_NUMBERS[list(b"0123456789+-.eE[], \t\r\ntruefalsn")] = True


def takes_text(manifest: Manifest) -> bool:
    """Return whether an input of the route is BYTES."""
    return any(spec.datatype == "BYTES" for spec in manifest.inputs)


def read_large(body: bytes, end: int, manifest: Manifest) -> dict[str, Any]:
    """Return the object in `body[:end]`, with its lists of numbers as `NumberText`. Raises
    InvalidInput.
    """
    found = _find_numbers(body, end)
    token = secrets.token_hex(16)  # so that no string in the text can pass for a list
    parts: list[bytes] = []
    at = 0
    for place, text in enumerate(found):
        parts += [body[at : text.start], b'"%s%d"' % (token.encode(), place)]
        at = text.end
    parts.append(body[at:end])
    rest = b"".join(parts)
    _check_rest(rest, manifest)
    try:
        table = orjson.loads(rest)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"body: not JSON: {error}") from None
    if not isinstance(table, dict):
        raise InvalidInput(f"body: given {shorten(table)}, allowed an object")
    names = {f"{token}{place}": text for place, text in enumerate(found)}
    for entry in _iter_inputs(table.get("inputs")):
        data = entry.get("data")
        if isinstance(data, str) and data in names:
            entry["data"] = names[data]
    return table


def _iter_inputs(inputs: object) -> list[dict[str, Any]]:
    given = inputs if isinstance(inputs, list) else []
    return [entry for entry in given if isinstance(entry, dict)]


def _find_numbers(body: bytes, end: int) -> list[NumberText]:
    found: list[NumberText] = []
    at = body.find(_NAME, 0, end)
    while at >= 0:
        at += len(_NAME)
        colon = _COLON.match(body, at, end)
        if colon is not None:
            start = colon.end()
            at = body.rfind(b"]", start, _skip_numbers(body, start, end)) + 1
            if at <= start:
                return found  # not closed, or not only numbers
            found.append(NumberText(body, start, at))
        if len(found) > MAX_DATA:
            raise InvalidInput(f"inputs: given more than {MAX_DATA} lists named data")
        at = body.find(_NAME, at, end)
    return found


def _skip_numbers(body: bytes, at: int, end: int) -> int:
    """Return the first position whose character cannot be in a list of numbers."""
    while at < end:
        inside = _IN_NUMBERS[np.frombuffer(body, np.uint8, min(PIECE_BYTES, end - at), at)]
        place = int(inside.argmin())
        if not inside[place]:
            return at + place
        at += len(inside)
    return end


def _check_rest(rest: bytes, manifest: Manifest) -> None:
    """Check the limits on everything that would become an object. Raises InvalidInput."""
    texts, strings = 0, None
    if takes_text(manifest):
        texts = MAX_TEXTS
        rest, strings = _strip_strings(rest)
    _check("bytes beside lists of numbers", len(rest), MAX_REST_BYTES)
    tensors = len(manifest.inputs) + len(manifest.outputs)
    _check("objects", rest.count(b"{"), 512 + 4 * tensors)
    _check("lists", rest.count(b"["), 1024 + texts)
    _check("strings", rest.count(b'"') // 2 if strings is None else strings, 8192 + texts)


def _check(what: str, given: int, allowed: int) -> None:
    if given > allowed:
        raise InvalidInput(
            f"body: given {given} {what}, allowed {allowed} in JSON;"
            " send large tensors by the binary tensor extension"
        )


def _strip_strings(text: bytes) -> tuple[bytes, int]:
    """Return the text between the strings of a JSON text, and the number of strings."""
    outside: list[bytes] = []
    at = quotes = 0
    begin = text.find(b'"')
    while begin >= 0:
        outside.append(text[at:begin])
        at = begin + 1
        while True:
            quotes += 1
            end = text.find(b'"', at)
            if end < 0 or quotes > MAX_QUOTES:
                raise InvalidInput(
                    f"body: a string is not closed, or there are more than {MAX_QUOTES} quotes in"
                    " JSON; send many texts by the binary tensor extension"
                )
            before = text[at:end]
            at = end + 1
            if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
                break
        begin = text.find(b'"', at)
    outside.append(text[at:])
    return b"".join(outside), len(outside) - 1
