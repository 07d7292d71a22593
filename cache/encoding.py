"""How an answer stands in a store that others can write to: compact, versioned, sealed.

    seal 16 | version 1 | expires_at 8 | confidence 8 | exit | outputs: layout, then contents

The seal is keyed BLAKE2b over key and rest: what was damaged, cut off, made up, or moved under
another key is no answer. Behind the seal all is checked once more, so that not even a writer of
ours with a fault can make a reader raise. Numbers and truth values only: text (BYTES) is refused
and stays in the first tier. Where values are kept, and for how long, is the store's business.
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

VERSION = 1
SEAL_BYTES = 16
MAX_VALUE_BYTES = 2**15  # a look-up of 64 keys is to arrive within milliseconds
MAX_OUTPUTS = 64
MAX_DIMENSIONS = 8

# A dtype's code is its place here; places never change, a change needs a new VERSION.
DTYPES = tuple(
    np.dtype(name)
    for name in (
        "|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8",
    )
)  # fmt: skip
_CODES = {dtype.str: code for code, dtype in enumerate(DTYPES)}
_HEAD = struct.Struct("<Bdd")  # version, expires_at, confidence


class Unstorable(ValueError):
    """An answer that has no encoding, or too large a one."""


class Recalled(NamedTuple):
    """An answer, and for how long it holds; not any more where that is not above 0."""

    outcome: Outcome
    left_s: float


class Encoding:
    """Encodes and decodes under one secret key; values of another key are garbage to it."""

    def __init__(self, secret: bytes) -> None:
        self._hasher = hashlib.blake2b(key=secret, digest_size=SEAL_BYTES)

    def encode(self, key: Key, outcome: Outcome, expires_at: float) -> bytes:
        """`expires_at` is an instant of the wall clock, in seconds. Raises Unstorable for text,
        foreign dtypes and answers that are too large.
        """
        if len(outcome.outputs) > MAX_OUTPUTS:
            raise Unstorable(f"{len(outcome.outputs)} outputs, at most {MAX_OUTPUTS} are allowed")
        parts = [
            _HEAD.pack(VERSION, expires_at, outcome.confidence),
            _prefixed(outcome.exit),
            bytes((len(outcome.outputs),)),
        ]
        contents = []
        for name, value in outcome.outputs.items():
            array = np.asarray(value)
            parts.append(_describe(name, array.dtype.str, array.shape))
            contents.append(array.tobytes())
        body = b"".join(parts + contents)
        if len(body) > MAX_VALUE_BYTES - SEAL_BYTES:
            raise Unstorable(f"{len(body)} bytes, at most {MAX_VALUE_BYTES} are allowed")
        return self.seal(key, body)

    def seal(self, key: Key, body: bytes) -> bytes:
        """The body behind its seal."""
        return self._sign(key, body) + body

    def decode(self, key: Key, value: bytes, now: float) -> Recalled | None:
        """What `encode` was given under this key; None for anything else, whatever it is."""
        if not SEAL_BYTES < len(value) <= MAX_VALUE_BYTES:
            return None
        body = value[SEAL_BYTES:]
        if not compare_digest(value[:SEAL_BYTES], self._sign(key, body)):
            return None
        try:
            return _parse(body, now)
        except (ValueError, IndexError, OverflowError, struct.error):
            return None

    def _sign(self, key: Key, body: bytes) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(struct.pack("<B", len(key)) + key)
        hasher.update(body)
        return hasher.digest()


@lru_cache(1024)
def _prefixed(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise Unstorable(f"a name of {len(raw)} bytes, at most 255 are allowed")
    return bytes((len(raw),)) + raw


@lru_cache(1024)
def _describe(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    code = _CODES.get(dtype)
    if code is None or len(shape) > MAX_DIMENSIONS:
        raise Unstorable(f"output {name!r}: {dtype} with {len(shape)} dimensions")
    return _prefixed(name) + struct.pack(f"<BB{len(shape)}I", code, len(shape), *shape)


def _parse(body: bytes, now: float) -> Recalled:
    version, expires_at, confidence = _HEAD.unpack_from(body)
    if version != VERSION or not 0.0 <= confidence <= 1.0 or not math.isfinite(expires_at):
        raise ValueError("no value of this version, or no confidence")
    exit, at = _read_text(body, _HEAD.size)
    count = body[at]
    at += 1
    if count > MAX_OUTPUTS:
        raise ValueError("too many outputs")
    layout = []
    for _ in range(count):
        name, at = _read_text(body, at)
        code, dimensions = body[at], body[at + 1]
        if dimensions > MAX_DIMENSIONS:
            raise ValueError("too many dimensions")
        shape = struct.unpack_from(f"<{dimensions}I", body, at + 2)
        at += 2 + 4 * dimensions
        layout.append((name, DTYPES[code], shape))
    outputs: dict[str, npt.NDArray[np.generic]] = {}
    for name, dtype, shape in layout:
        size = math.prod(shape)
        if size * dtype.itemsize > len(body) - at or name in outputs:
            raise ValueError("contents are missing, or an output stands twice")
        outputs[name] = np.frombuffer(body, dtype, size, at).reshape(shape)
        at += size * dtype.itemsize
    if at != len(body):
        raise ValueError("bytes behind the end")
    return Recalled(Outcome(outputs, confidence, exit), expires_at - now)


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + body[at]
    if end > len(body):
        raise ValueError("a name is cut off")
    return body[at + 1 : end].decode(), end
