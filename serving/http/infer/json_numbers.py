"""Long `data` of numbers or truth values, read from their JSON text in short pieces.

Parsed whole, the text would hold up all other threads, and each of its lists would cost more than
its numbers. Here a piece is parsed as one flat list; that brackets and commas are exactly those of
the shape, and that every number stands where it belongs, is compared by itself.
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
    """Where a list stands in a body; it holds brackets, commas, blanks, numbers and literals."""

    body: bytes
    start: int
    end: int


def read_numbers(spec: TensorSpec, shape: Sequence[int], elements: int, text: NumberText) -> Tensor:
    """The array of a shape that was checked before. Raises InvalidInput."""
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
    """The text in pieces that end where a comma was."""
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
    """Brackets and commas of a piece, in which no number stands before `[` or behind `]`."""
    dense = piece.translate(None, _BLANKS)
    found = np.frombuffer(dense, np.uint8)
    is_number = (found != _OPEN) & (found != _CLOSE) & (found != _COMMA)
    before_open = is_number[:-1] & (found[1:] == _OPEN)
    behind_close = (found[:-1] == _CLOSE) & is_number[1:]
    if before_open.any() or behind_close.any():
        raise _wrong_structure(spec, shape)
    return dense.translate(None, _NO_MARKS)


def _is_structure(marks: bytes, shape: Sequence[int], elements: int) -> bool:
    """Whether these are the marks of a flat list of so many elements, or of lists as the shape."""
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
        f" {shorten(list(shape))} nor nested as it says"
    )
