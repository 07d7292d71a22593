"""Protobuf messages as lists of fields, so that one can be wrong while the others are right."""

import struct
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from reliability.fuzz.damage import damage

VARINT, FIXED64, BYTES, GROUP, END, FIXED32 = 0, 1, 2, 3, 4, 5


class Field(NamedTuple):
    """One field; `value` holds the bytes behind its tag, without a length."""

    number: int
    wire: int
    value: "bytes | Sequence[Field]"


def varint(value: int, extra: int = 0) -> bytes:
    """`extra` bytes longer than needed."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F or extra > 0:
        out.append(value & 0x7F | 0x80)
        extra -= value <= 0x7F
        value >>= 7
    out.append(value)
    return bytes(out)


def text(number: int, value: str | bytes) -> Field:
    return Field(number, BYTES, value.encode() if isinstance(value, str) else value)


def write(fields: Sequence[Field]) -> bytes:
    return b"".join(_write_one(field) for field in fields)


def _write_one(field: Field) -> bytes:
    tag = varint(field.number << 3 | field.wire)
    value = field.value if isinstance(field.value, bytes) else write(field.value)
    return tag + (varint(len(value)) if field.wire == BYTES else b"") + value


def change(rng: Random, fields: Sequence[Field], depth: int = 0) -> list[Field]:
    """One change at any depth."""
    changed = list(fields)
    inner = [place for place, field in enumerate(changed) if not isinstance(field.value, bytes)]
    if inner and rng.random() < 0.6 and depth < 4:
        place = rng.choice(inner)
        field = changed[place]
        assert not isinstance(field.value, bytes)
        changed[place] = field._replace(value=change(rng, field.value, depth + 1))
        return changed
    if not changed:
        return [make_junk(rng)]
    return _change_here(rng, changed)


def _change_here(rng: Random, fields: list[Field]) -> list[Field]:
    place = rng.randrange(len(fields))
    field = fields[place]
    value = field.value if isinstance(field.value, bytes) else write(field.value)
    deed = rng.randrange(9)
    if deed == 0:
        del fields[place]
    elif deed == 1:
        fields.insert(place, fields[rng.randrange(len(fields))])
    elif deed == 2:
        fields[place] = field._replace(number=rng.choice((0, 1, 2, 3, 5, 7, 8, 19_000, 2**29 - 1)))
    elif deed == 3:
        fields[place] = field._replace(wire=rng.randrange(8))
    elif deed == 4:
        fields[place] = field._replace(value=damage(rng, value))
    elif deed == 5:
        fields[place] = field._replace(value=make_value(rng, field.wire))
    elif deed == 6:
        rng.shuffle(fields)
    else:
        fields.insert(place, make_junk(rng))
    return fields


def make_value(rng: Random, wire: int) -> bytes:
    if wire == VARINT:
        value = rng.choice((0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 28, 10**12))
        return varint(value, rng.choice((0, 0, 1, 12)))
    if wire == FIXED64:
        return struct.pack("<d", rng.choice((0.0, -1.0, 1e300, float("nan"), float("inf"))))
    if wire == FIXED32:
        return rng.randbytes(4)
    return rng.choice(
        (b"", b"\0", b"\xff\xfe", b"image", b"UINT8", bytes(784), bytes(5000), b"\xed\xa0\x80")
    )


def make_junk(rng: Random) -> Field:
    """A field that the message does not know, or knows otherwise."""
    number = rng.choice((1, 2, 3, 4, 5, 6, 7, 9, 100, 2**29 - 1))
    deed = rng.randrange(5)
    if deed == 0:
        return Field(number, BYTES, [Field(1, BYTES, bytes(rng.choice((0, 3, 3000))))])
    if deed == 1:
        depth = rng.choice((5, 90, 200))
        return Field(number, GROUP, varint(1 << 3 | GROUP) * depth + varint(1 << 3 | END) * depth)
    if deed == 2:
        nested = b""
        for _ in range(rng.choice((5, 90, 120))):
            nested = varint(number << 3 | BYTES) + varint(len(nested)) + nested
        return Field(number, BYTES, nested)
    wire = rng.choice((VARINT, FIXED64, BYTES, FIXED32))
    return Field(number, wire, make_value(rng, wire))
