"""Pictures by hand: PNGs of any kind, chunks and segments that no encoder would write."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(
    width: int,
    height: int,
    lines: bytes,
    *,
    depth: int = 8,
    kind: int = 0,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of these lines, each with its filter in front, in IDATs of 1,000 bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    packed = zlib.compress(lines)
    pixels = b"".join(chunk(b"IDAT", packed[at : at + 1000]) for at in range(0, len(packed), 1000))
    return SIGNATURE + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def write_random_png(
    width: int, height: int, depth: int, kind: int, *, interlaced: bool, seed: int = 0
) -> bytes:
    """Random samples and filters, a palette where there has to be one, and some text."""
    rng = np.random.default_rng(seed)
    bits = depth * _SAMPLES[kind]
    lines = b""
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        for _ in range(rows if columns > 0 else 0):
            samples = rng.integers(0, 256, (columns * bits + 7) // 8, dtype=np.uint8)
            lines += bytes([int(rng.integers(0, 5))]) + samples.tobytes()
    colours = rng.integers(0, 256, 3 * min(256, 2**depth), dtype=np.uint8).tobytes()
    before = chunk(b"tEXt", b"a\0b") + (chunk(b"PLTE", colours) if kind == 3 else b"")
    return write_png(
        width, height, lines, depth=depth, kind=kind, interlaced=interlaced,
        before=before, after=chunk(b"tIME", bytes(7)),
    )  # fmt: skip


def write_file(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def make_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def repeat_last_scan(jpeg: bytes, times: int) -> bytes:
    start = jpeg.rfind(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * times + b"\xff\xd9"
