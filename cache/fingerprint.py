"""Fingerprints: keyed 128-bit BLAKE2b over everything that decides an answer.

Tenant, route, digest, every control, and name, dtype, shape and bytes of every decoded input of a
row. Each part has a length prefix, or a length fixed by earlier parts, so different inputs never
give the same hashed bytes. The key is secret, so callers cannot construct two pictures with the
same fingerprint. The exact bytes are hashed, not a text form or normalised floats.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from core.messages import Control, Key

KEY_BYTES = 16
MAX_SECRET_BYTES = 64
_MAX_LAYOUTS = 16

# Name, dtype and a row's shape of every input, in name order.
Layout = tuple[tuple[str, np.dtype[np.generic], tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The hashed part that rows of one (tenant, route, digest, controls) share. Opaque."""

    hasher: hashlib.blake2b
    layouts: dict[Layout, hashlib.blake2b] = field(default_factory=dict)  # with a layout added


class Fingerprinter:
    """Makes fingerprints with one secret. Raises ValueError if the secret is too short or long."""

    def __init__(self, secret: bytes) -> None:
        if not 16 <= len(secret) <= MAX_SECRET_BYTES:
            raise ValueError(f"secret: {len(secret)} bytes given, 16 to {MAX_SECRET_BYTES} allowed")
        self._secret = secret

    def prefix(
        self, tenant: str, route: str, digest: bytes, controls: Mapping[str, Control]
    ) -> Prefix:
        """Hash the part that all rows of a request share; the order of controls does not matter."""
        hasher = hashlib.blake2b(key=self._secret, digest_size=KEY_BYTES)
        for part in (tenant.encode(), route.encode(), digest):
            hasher.update(_delimit(part))
        hasher.update(encode_controls(controls))
        return Prefix(hasher)

    def row_hasher(
        self, prefix: Prefix, inputs: Mapping[str, npt.NDArray[np.generic]]
    ) -> hashlib.blake2b:
        """Return the hash that each row's own bytes, added to a copy, turn into its key; the bytes
        of all inputs in the order of their names.
        """
        return _read_layout(prefix, inputs)

    def row_keys(self, prefix: Prefix, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Key]:
        """Return one key per row, in order; all inputs have the same leading dimension."""
        arrays = [inputs[name] for name in sorted(inputs)] if len(inputs) > 1 else inputs.values()
        shared = _read_layout(prefix, inputs)
        keys = []
        for row in zip(*map(_row_bytes, arrays), strict=True):
            hasher = shared.copy()
            for content in row:
                hasher.update(content)
            keys.append(hasher.digest())
        return keys


def _read_layout(prefix: Prefix, inputs: Mapping[str, npt.NDArray[np.generic]]) -> hashlib.blake2b:
    """Return the prefix's hasher, extended by the layout of the inputs."""
    layout = tuple([(name, inputs[name].dtype, inputs[name].shape[1:]) for name in sorted(inputs)])
    shared = prefix.layouts.get(layout)
    if shared is None:
        if len(prefix.layouts) >= _MAX_LAYOUTS:
            prefix.layouts.clear()
        shared = prefix.layouts[layout] = prefix.hasher.copy()
        shared.update(b"".join([struct.pack("<Q", len(layout)), *map(_encode_layout, layout)]))
    return shared


def encode_controls(controls: Mapping[str, Control]) -> bytes:
    """Return bytes that are the same for equal names, types and values only. Raises TypeError for a
    value of another type.
    """
    parts = [struct.pack("<Q", len(controls))]
    for name in sorted(controls):
        parts += [_delimit(name.encode()), _delimit(_encode_control(controls[name]))]
    return b"".join(parts)


def hash_controls(controls: Mapping[str, Control]) -> bytes:
    """Return 32 bytes that stand for the controls, however long their values are; none for none."""
    return hashlib.blake2b(encode_controls(controls), digest_size=32).digest() if controls else b""


def _encode_control(value: Control) -> bytes:
    """Encode a value after a byte for its type: 1, 1.0, True, "1" and (1,) all differ."""
    match value:
        case bool():
            return b"b1" if value else b"b0"
        case int():
            return b"i%d" % value
        case float():
            return b"f" + struct.pack("<d", value)
        case str():
            return b"s" + value.encode(errors="surrogatepass")
        case tuple():
            return b"t" + b"".join([_delimit(_encode_control(item)) for item in value])
        case _:
            raise TypeError(f"a control is {type(value).__name__}")


def _delimit(part: bytes) -> bytes:
    return struct.pack("<Q", len(part)) + part


def _encode_layout(layout: tuple[str, np.dtype[np.generic], tuple[int, ...]]) -> bytes:
    """Encode name, dtype and a row's shape; these fix the length of the row's bytes."""
    name, dtype, shape = layout
    return b"".join(
        [
            _delimit(name.encode()),
            _delimit(dtype.str.encode()),
            struct.pack(f"<Q{len(shape)}Q", len(shape), *shape),
        ]
    )


def _row_bytes(array: npt.NDArray[np.generic]) -> Sequence[bytes | memoryview]:
    """Return each row's bytes in C order, for any strides."""
    if array.dtype.hasobject:
        return [b"".join([_delimit(_encode(item)) for item in row.ravel()]) for row in _rows(array)]
    rows = len(array)
    if rows == 1 and array.size and array.flags.c_contiguous:
        return (array.data.cast("B"),)
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    size_bytes = len(flat) // rows if rows else 0
    if size_bytes == 0:
        return [b""] * rows
    return [flat[start : start + size_bytes] for start in range(0, len(flat), size_bytes)]


def _rows(array: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    return [array[index : index + 1] for index in range(len(array))]


def _encode(item: object) -> bytes:
    """Encode an element of a BYTES tensor; a str and its bytes are encoded differently."""
    if isinstance(item, bytes):
        return b"b" + item
    if isinstance(item, str):
        return b"s" + item.encode()
    raise TypeError(f"a BYTES element is {type(item).__name__}, bytes or str are allowed")
