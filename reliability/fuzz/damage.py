"""Small damages that every kind of body shares: junk values, and bytes flipped, cut or moved."""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

JUNK: Sequence[Any] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308,
    "", "0", "a", "\0", "\n\x1b[31m", "é\u202e", "\U0001f600", "null", "NaN", "../../etc/passwd",
    "UINT8", "FP32", "BYTES", "image", "a" * 300, "9" * 400, [], [[]], [[[]], 1], [None],
    {}, {"a": {}},
    [0] * 50, {"image": 1}, {str(n): n for n in range(30)},
)  # fmt: skip


def junk(rng: Random) -> Any:
    value = rng.choice(JUNK)
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def write_json(value: Any) -> bytes:
    """Numbers of any size, which orjson refuses to write."""
    return json.dumps(value, separators=(",", ":"), default=str).encode()


def flip(rng: Random, raw: bytes) -> bytes:
    """A few bits."""
    if not raw:
        return raw
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: Random, raw: bytes) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def insert(rng: Random, raw: bytes) -> bytes:
    place = rng.randrange(len(raw) + 1)
    return raw[:place] + rng.randbytes(rng.choice((1, 2, 8, 100))) + raw[place:]


def repeat(rng: Random, raw: bytes) -> bytes:
    """Repeat a slice at a random place."""
    start, place = rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)
    return raw[:place] + raw[start : start + rng.choice((1, 4, 32, 500))] + raw[place:]


def remove(rng: Random, raw: bytes) -> bytes:
    start = rng.randrange(len(raw) + 1)
    return raw[:start] + raw[start + rng.choice((1, 2, 4, 32)) :]


def overwrite(rng: Random, raw: bytes) -> bytes:
    """Put a number near a limit of integers where a length may stand."""
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    packed = value.to_bytes(rng.choice((4, 8)), rng.choice(("big", "little")))
    place = rng.randrange(len(raw) + 1)
    return raw[:place] + packed + raw[place + len(packed) :]


DAMAGES: Sequence[Callable[[Random, bytes], bytes]] = (
    flip, flip, cut, insert, repeat, remove, overwrite,
)  # fmt: skip


def damage(rng: Random, raw: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        raw = rng.choice(DAMAGES)(rng, raw)
    return raw


def split(rng: Random, raw: bytes) -> list[bytes]:
    """The same bytes in several packets."""
    if len(raw) < 2:
        return [raw]
    count = rng.choice((2, 2, 3, 8))
    cuts = sorted(rng.randrange(1, len(raw)) for _ in range(count - 1))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if b > a]
