"""Encodes an answer for a store that others can write to: compact, versioned, authenticated.

    seal 16 | version 1 | expires_at 8 | confidence 8 | length 2 of the layout | layout | contents

The layout holds the exit, and names, dtypes and shapes of the outputs; it is parsed once for all
answers that share it. The seal is keyed BLAKE2b over the key and the rest, so a value that was
damaged, cut, forged or moved to another key is rejected. All fields are checked again after the
seal, so that a faulty writer cannot make a reader raise. Only numbers and booleans are encoded;
text (BYTES) stays in the cache of the process.
"""

import hashlib
import math
import struct
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from core.messages import Key, Outcome

VERSION = 2
AUTH_TAG_BYTES = 16
MAX_VALUE_BYTES = 2**15  # so that a lookup of 64 keys takes milliseconds
MAX_OUTPUTS = 64
MAX_DIMENSIONS = 8

# A dtype's code is its index here. Indices never change; a change needs a new VERSION.
DTYPES = tuple(
    np.dtype(name)
    for name in (
        "|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8",
    )
)  # fmt: skip
_CODES = {dtype.str: code for code, dtype in enumerate(DTYPES)}
_HEAD = struct.Struct("<BddH")  # version, expires_at, confidence, length of the layout


class UnencodableAnswer(ValueError):
    """The answer has no encoding, or a too large one."""


class StoredAnswer(NamedTuple):
    """An answer, and the seconds until it expires; expired if not above 0."""

    outcome: Outcome
    left_s: float


class Encoding:
    """Encodes and decodes with one secret key; values of another key are rejected."""

    def __init__(self, secret: bytes) -> None:
        self._hasher = hashlib.blake2b(key=secret, digest_size=AUTH_TAG_BYTES)

    def encode(self, key: Key, outcome: Outcome, expires_at: float) -> bytes:
        """Encode an answer. `expires_at` is wall-clock time in seconds since 1970.

        Raises Unstorable for text, other dtypes and answers that are too large.
        """
        arrays = [(name, np.asarray(value)) for name, value in outcome.outputs.items()]
        layout = _write_layout(
            outcome.exit, tuple([(name, array.dtype.str, array.shape) for name, array in arrays])
        )
        head = _HEAD.pack(VERSION, expires_at, outcome.confidence, len(layout))
        body = b"".join([head, layout, *[array.tobytes() for _, array in arrays]])
        if len(body) > MAX_VALUE_BYTES - AUTH_TAG_BYTES:
            raise UnencodableAnswer(f"{len(body)} bytes, at most {MAX_VALUE_BYTES} are allowed")
        return self.authenticate(key, body)

    def authenticate(self, key: Key, body: bytes) -> bytes:
        """Return the seal followed by the body."""
        return self._sign(key, body) + body

    def decode(self, key: Key, value: bytes, now: float) -> StoredAnswer | None:
        """Decode a value that `encode` made for this key; None for anything else."""
        if not AUTH_TAG_BYTES < len(value) <= MAX_VALUE_BYTES:
            return None
        body = value[AUTH_TAG_BYTES:]
        if not compare_digest(value[:AUTH_TAG_BYTES], self._sign(key, body)):
            return None
        try:
            return _decode_body(body, now)
        except (ValueError, IndexError, OverflowError, struct.error):
            return None

    def _sign(self, key: Key, body: bytes) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(struct.pack("<B", len(key)) + key)
        hasher.update(body)
        return hasher.digest()


class _Layout(NamedTuple):
    """The part that answers of one exit share."""

    exit: str
    outputs: tuple[tuple[str, np.dtype[np.generic], tuple[int, ...], int], ...]  # items at the end
    size_bytes: int  # of the contents


@lru_cache(1024)
def _write_layout(exit: str, outputs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    if len(outputs) > MAX_OUTPUTS:
        raise UnencodableAnswer(f"{len(outputs)} outputs, at most {MAX_OUTPUTS} are allowed")
    parts = [_with_length(exit), bytes((len(outputs),))]
    for name, dtype, shape in outputs:
        code = _CODES.get(dtype)
        if code is None or len(shape) > MAX_DIMENSIONS:
            raise UnencodableAnswer(f"output {name!r}: {dtype} with {len(shape)} dimensions")
        parts.append(_with_length(name))
        parts.append(struct.pack(f"<BB{len(shape)}I", code, len(shape), *shape))
    return b"".join(parts)


def _with_length(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise UnencodableAnswer(f"a name of {len(raw)} bytes, at most 255 are allowed")
    return bytes((len(raw),)) + raw


@lru_cache(1024)
def _read_layout(raw: bytes) -> _Layout:
    exit, at = _read_text(raw, 0)
    count = raw[at]
    at += 1
    if count > MAX_OUTPUTS:
        raise ValueError("too many outputs")
    outputs: dict[str, tuple[str, np.dtype[np.generic], tuple[int, ...], int]] = {}
    size_bytes = 0
    for _ in range(count):
        name, at = _read_text(raw, at)
        code, dimensions = raw[at], raw[at + 1]
        if dimensions > MAX_DIMENSIONS or name in outputs:
            raise ValueError("too many dimensions, or an output stands twice")
        shape = struct.unpack_from(f"<{dimensions}I", raw, at + 2)
        at += 2 + 4 * dimensions
        items = math.prod(shape)
        size_bytes += items * DTYPES[code].itemsize
        outputs[name] = (name, DTYPES[code], shape, items)
    if at != len(raw):
        raise ValueError("bytes behind the end of the layout")
    return _Layout(exit, tuple(outputs.values()), size_bytes)


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + raw[at]
    if end > len(raw):
        raise ValueError("a name is cut off")
    return raw[at + 1 : end].decode(), end


def _decode_body(body: bytes, now: float) -> StoredAnswer:
    version, expires_at, confidence, layout_bytes = _HEAD.unpack_from(body)
    if version != VERSION or not 0.0 <= confidence <= 1.0 or not math.isfinite(expires_at):
        raise ValueError("no value of this version, or no confidence")
    at = _HEAD.size + layout_bytes
    layout = _read_layout(body[_HEAD.size : at])
    if at + layout.size_bytes != len(body):
        raise ValueError("contents are missing, or bytes stand behind the end")
    outputs: dict[str, npt.NDArray[np.generic]] = {}
    for name, dtype, shape, items in layout.outputs:
        outputs[name] = np.frombuffer(body, dtype, items, at).reshape(shape)
        at += items * dtype.itemsize
    return StoredAnswer(Outcome(outputs, confidence, layout.exit), expires_at - now)
