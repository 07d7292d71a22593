"""Invalid HTTP/2: frames in the wrong place, of the wrong size, or too many of them."""

import struct
from collections.abc import Callable, Sequence
from random import Random

from reliability.fuzz.damage import damage
from reliability.fuzz.protobuf import write
from reliability.fuzz.rpc_calls import (
    FATAL_HEADERS,
    INFER,
    STREAM,
    envelope,
    make_headers,
)
from reliability.fuzz.rpc_messages import make_fields
from reliability.fuzz.valid_http import choose_rows
from reliability.samples import Sample
from reliability.wire import http2
from reliability.wire.conversation import Conversation, Ends
from reliability.wire.http2 import frame

OTHER_HELLOS = (
    b"GET / HTTP/1.1\r\nhost: t\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", b"", bytes(100),
    b"SSH-2.0-x\r\n", http2.PREFACE, http2.PREFACE + http2.PREFACE,
)  # fmt: skip


def _headers(path: bytes = INFER, stream: int = 1, flags: int = http2.END_HEADERS) -> bytes:
    return frame(http2.HEADERS, flags, stream, http2.pack_headers(make_headers(path)))


def _call(rng: Random, samples: Sequence[Sample]) -> list[bytes]:
    """The frames of one valid call."""
    data = envelope(write(make_fields(rng, choose_rows(rng, samples))))
    return [_headers(), frame(http2.DATA, http2.END_STREAM, 1, data[: http2.MAX_FRAME])]


def any_frame(rng: Random) -> bytes:
    size = rng.choice((0, 1, 4, 5, 6, 8, 17, 100))
    kind = rng.choice((*range(10), *range(10), 10, 77, 255))
    stream = rng.choice((0, 1, 1, 2, 3, 5, 2**31 - 1, 2**31 + 1))
    return frame(kind, rng.choice((0, 1, 4, 5, 8, 32, 255)), stream, rng.randbytes(size))


def odd_settings(rng: Random, frames: list[bytes]) -> list[bytes]:
    pairs = [
        (
            rng.choice((1, 2, 3, 4, 5, 6, 8, 9, 0xFE03, 99)),
            rng.choice((0, 1, 100, 16_384, 2**31, 2**32 - 1)),
        )
        for _ in range(rng.choice((1, 2, 5, 50)))
    ]
    return [http2.settings(pairs), *frames]


def broken_settings(rng: Random, frames: list[bytes]) -> list[bytes]:
    flags, stream = rng.choice(((0, 0), (1, 0), (0, 1)))
    return [frame(http2.SETTINGS, flags, stream, rng.randbytes(rng.choice((1, 5, 6, 7)))), *frames]


def junk_between(rng: Random, frames: list[bytes]) -> list[bytes]:
    for _ in range(rng.choice((1, 2, 5))):
        frames.insert(rng.randint(0, len(frames)), any_frame(rng))
    return frames


def out_of_order(rng: Random, frames: list[bytes]) -> list[bytes]:
    rng.shuffle(frames)
    return frames * rng.choice((1, 2))


def broken_headers(rng: Random, frames: list[bytes]) -> list[bytes]:
    """Invalid HPACK: damaged bytes, unknown indices, Huffman codes, table sizes."""
    good = http2.pack_headers(make_headers(INFER))
    block = rng.choice(
        (
            damage(rng, good), rng.randbytes(40), b"\x80" + good, b"\xff\xff\xff\xff\x7f" + good,
            b"\x3f\xff\xff\xff\x7f" + good, b"\x00\x85\xff\xff\xff\xff\xff\x01x" + good, b"",
            b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x20" * 100 + good, good[:-5],
        )
    )  # fmt: skip
    return [frame(http2.HEADERS, http2.END_HEADERS, 1, block), *frames[1:]]


def fatal_headers(rng: Random, frames: list[bytes]) -> list[bytes]:
    headers = make_headers(INFER)
    for header in rng.sample(FATAL_HEADERS, rng.choice((1, 2))):
        headers.insert(rng.randint(0, len(headers)), header)
    block = http2.pack_headers(headers)
    first = frame(http2.HEADERS, 0, 1, block[: http2.MAX_FRAME])
    rest = frame(http2.CONTINUATION, http2.END_HEADERS, 1, block[http2.MAX_FRAME :])
    return [first, rest, *frames[1:]]


def continued(rng: Random, frames: list[bytes]) -> list[bytes]:
    """Headers in many parts, some of them empty, perhaps without an end."""
    block = http2.pack_headers([*make_headers(INFER), (b"x", b"v" * rng.choice((10, 7000)))])
    step = rng.choice((1, 7, 100, 5000))
    if step == 1:
        block = block[:150]
    parts = [block[at : at + step] for at in range(0, len(block), step)]
    middle = rng.randrange(len(parts))
    parts[middle:middle] = [b""] * rng.choice((0, 3, 300))
    last = len(parts) - 1 if rng.random() < 0.7 else -1
    made = [
        frame(
            http2.CONTINUATION if place else http2.HEADERS,
            http2.END_HEADERS if place == last else 0,
            1,
            part,
        )
        for place, part in enumerate(parts)
    ]
    return [*made, *frames[1:]]


def many_streams(rng: Random, frames: list[bytes]) -> list[bytes]:
    """Calls opened and reset at once, or never finished."""
    count = rng.choice((5, 20, 120))
    opened = [_headers(rng.choice((INFER, STREAM)), 2 * n + 1) for n in range(count)]
    if rng.random() < 0.3:
        return opened
    reset = struct.pack(">I", rng.choice((0, 1, http2.CANCEL, 99)))
    return [
        part
        for n, first in enumerate(opened)
        for part in (first, frame(http2.RST_STREAM, 0, 2 * n + 1, reset))
    ]


def many_frames(rng: Random, frames: list[bytes]) -> list[bytes]:
    """Very many small frames, up to a fixed number."""
    one = rng.choice(
        (
            frame(http2.PING, 0, 0, bytes(8)), http2.settings([]), frame(http2.PRIORITY, 0,
            3, bytes(5)),
            frame(http2.DATA, 0, 1, b""), http2.window_update(0, 1), frame(http2.SETTINGS,
            http2.ACK, 0),
            frame(99, 0, 0, bytes(50)), frame(http2.PING, http2.ACK, 0, bytes(8)),
        )
    )  # fmt: skip
    return [frames[0], one * rng.choice((20, 300)), *frames[1:]]


def windows(rng: Random, frames: list[bytes]) -> list[bytes]:
    by = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1))
    update = http2.window_update(rng.choice((0, 1, 3)), by)
    return [frames[0], update * rng.choice((1, 2)), *frames[1:]]


def wrong_sizes(rng: Random, frames: list[bytes]) -> list[bytes]:
    """Longer than a frame may be, or than it is; padding longer than the frame."""
    large = rng.choice((16_385, 70_000))
    pad = rng.choice((0, 1, 50, 255))
    made = rng.choice(
        (
            frame(http2.DATA, http2.END_STREAM, 1, bytes(large)),
            b"\xff\xff\xff" + frames[1][3:],
            b"\0\0\x05" + frames[1][3:],
            frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, bytes([pad]) + bytes(20)),
            frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, b""),
            frame(http2.HEADERS, http2.PADDED | http2.END_HEADERS, 3, bytes([pad]) + bytes(9)),
        )
    )
    return [frames[0], made]


def farewell(rng: Random, frames: list[bytes]) -> list[bytes]:
    """GOAWAY before, between or behind, and resets."""
    payload = struct.pack(">II", rng.choice((0, 1, 2**31 - 1)), rng.choice((0, 2, 11))) + b"bye"
    frames.insert(rng.randint(0, 2), frame(http2.GOAWAY, 0, 0, payload))
    if rng.random() < 0.5:
        frames.append(frame(http2.RST_STREAM, 0, rng.choice((0, 1, 7)), struct.pack(">I", 8)))
    return frames


ODDITIES: Sequence[Callable[[Random, list[bytes]], list[bytes]]] = (
    odd_settings, broken_settings, junk_between, junk_between, out_of_order, broken_headers,
    fatal_headers, continued, many_streams, many_frames, windows, wrong_sizes, farewell,
)  # fmt: skip


def mutate_frames(rng: Random, samples: Sequence[Sample]) -> Conversation:
    kind = "grpc http2"
    if rng.random() < 0.1:
        return _closed(kind, [rng.choice(OTHER_HELLOS)])
    frames = rng.choice(ODDITIES)(rng, _call(rng, samples))
    raw = http2.hello() + b"".join(frames)
    return _closed(kind, [damage(rng, raw) if rng.random() < 0.15 else raw])


def _closed(kind: str, packets: Sequence[bytes]) -> Conversation:
    return Conversation(kind, packets, Ends.CLOSED, grpc=True, timed=True)
