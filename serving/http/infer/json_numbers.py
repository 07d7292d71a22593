"""Reads long `data` of numbers or truth values from JSON text in short pieces.

Parsing the whole text at once would hold up all other threads, and each of its lists would cost
more than its numbers. Here each piece is parsed as one flat list. Separate checks compare brackets
and commas with the shape, and make sure that every number is in its place.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import orjson

from core.datatypes import DATATYPES
from core.errors import InvalidInput
from core.manifest import TensorSpec
from serving.http.infer.json_data import convert, read_data
from serving.oip.tensors import Tensor, shorten

PIECE_BYTES = 64 * 2**10

_BLANKS = b" \t\r\n"
_MARKS = b"[],"
_NO_MARKS = bytes(byte for byte in range(256) if byte not in _MARKS)
_BLANK_BRACKETS = bytes.maketrans(b"[]", b"  ")
_OPEN, _CLOSE, _COMMA = _MARKS[0], _MARKS[1], _MARKS[2]


class NumberText(NamedTuple):
    """Position of a list in a body; it holds only brackets, commas, blanks, numbers and
    literals.
    """

    body: bytes
    start: int
    end: int


def read_numbers(spec: TensorSpec, shape: Sequence[int], elements: int, text: NumberText) -> Tensor:
    """Return the array of a shape that is checked already. Raises InvalidInput."""
    size_bytes = text.end - text.start
    if size_bytes <= PIECE_BYTES or spec.datatype == "BYTES":
        return read_data(spec, shape, elements, _parse(text.body[text.start : text.end]))
    if elements > size_bytes:
        raise _wrong_structure(spec, shape)
    array = np.empty(elements, DATATYPES[spec.datatype])
    marks: list[bytes] = []
    done = 0
    for piece in _cut(spec, text):
        marks.append(_read_marks(spec, shape, piece))
        values = _parse(b"[%s]" % piece.translate(_BLANK_BRACKETS))
        if done + len(values) > elements:
            raise _wrong_structure(spec, shape)
        try:
            array[done : done + len(values)] = convert(spec.datatype, values)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(
                f"inputs.{spec.name}.data: an element is not {spec.datatype}: {error}"
            ) from None
        done += len(values)
        time.sleep(0)  # let other threads run
    if done != elements or not _is_structure(b",".join(marks), shape, elements):
        raise _wrong_structure(spec, shape)
    return array.reshape(shape)


def _cut(spec: TensorSpec, text: NumberText) -> Iterator[bytes]:
    """Yield the text in pieces that end at a comma."""
    at = text.start
    while at < text.end:
        stop = text.end
        if stop - at > PIECE_BYTES:
            stop = text.body.rfind(b",", at, at + PIECE_BYTES)
            if stop < 0:
                raise InvalidInput(
                    f"inputs.{spec.name}.data: an element has more than {PIECE_BYTES} characters"
                )
        yield text.body[at:stop]
        at = stop + 1


def _read_marks(spec: TensorSpec, shape: Sequence[int], piece: bytes) -> bytes:
    """Return the brackets and commas of a piece. No number may stand before `[` or after `]`."""
    dense = piece.translate(None, _BLANKS)
    found = np.frombuffer(dense, np.uint8)
    is_number = (found != _OPEN) & (found != _CLOSE) & (found != _COMMA)
    before_open = is_number[:-1] & (found[1:] == _OPEN)
    behind_close = (found[:-1] == _CLOSE) & is_number[1:]
    if before_open.any() or behind_close.any():
        raise _wrong_structure(spec, shape)
    return dense.translate(None, _NO_MARKS)


def _is_structure(marks: bytes, shape: Sequence[int], elements: int) -> bool:
    """Return whether the marks fit a flat list of `elements` elements, or lists nested like the
    shape.
    """
    if len(marks) == max(elements, 1) + 1:
        return marks == b"[%s]" % (b"," * (elements - 1))
    chars = 0
    for size in reversed(shape):
        chars = 2 + size * chars + max(size - 1, 0)
    if len(marks) != chars:
        return False
    inner = b""
    for size in reversed(shape):
        inner = b"[%s]" % b",".join([inner] * size)
    return marks == inner


def _parse(text: bytes) -> list[object]:
    try:
        values: list[object] = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"body: not JSON: {error}") from None
    return values


def _wrong_structure(spec: TensorSpec, shape: Sequence[int]) -> InvalidInput:
    return InvalidInput(
        f"inputs.{spec.name}.data: neither a flat list of the elements of shape"
        f" {shorten(list(shape))} nor nested like it"
    )
