"""PNG and JPEG files changed by their own grammar, and put together with right sums."""

import io
import struct
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from reliability.fuzz.damage import damage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOT_OURS = (
    b"GIF89a\x01\0\x01\0\0\0\0;", b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0/\0\0\0\0\0\0\0\0",
    b"BM" + bytes(60),
    b"II*\0\x08\0\0\0\0\0", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4",
    b"P5 1 1 255 a",
    b"\0\0\1\0\1\0\1\1\0\0\1\0\x18\0\x30\0\0\0\x16\0\0\0", b"8BPS\0\1" + bytes(30), b"", b"\0",
    b"qoif" + bytes(20), b"\0\0\0 ftypavif" + bytes(20), SIGNATURE, b"\xff\xd8",
    b"\xff\xd8\xff\xd9",
)  # fmt: skip


class Part(NamedTuple):
    """A chunk of a PNG, or a segment of a JPEG: what it is, and what it holds."""

    kind: bytes
    data: bytes


def write_chunk(kind: bytes, data: bytes, right: bool = True) -> bytes:
    crc = zlib.crc32(kind + data) ^ (0 if right else 1)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def make_png(rng: Random) -> bytes:
    """A small PNG of any colour type, depth and interlacing, valid or with one number changed."""
    width, height = rng.choice(((28, 28), (32, 32), (1, 1), (5, 3), (60, 20), (200, 150)))
    depth, colour = rng.choice(
        ((8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (1, 0), (2, 0), (4, 3), (16, 0), (16, 2), (16, 6))
    )
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = (width * depth * samples + 7) // 8
    packed = zlib.compress(b"".join(b"\0" + rng.randbytes(line) for _ in range(height)), 1)
    chunks = [Part(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if colour == 3:
        chunks.append(Part(b"PLTE", rng.randbytes(3 * rng.choice((1, 16, 256)))))
    chunks += [Part(b"IDAT", packed), Part(b"IEND", b"")]
    if rng.random() < 0.9:
        chunks = change_png(rng, chunks)
    broken = rng.randrange(len(chunks) + 1) if rng.random() < 0.1 else -1
    return SIGNATURE + b"".join(
        write_chunk(part.kind[:4].ljust(4, b"a"), part.data, place != broken)
        for place, part in enumerate(chunks)
    )


def change_png(rng: Random, chunks: list[Part]) -> list[Part]:
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(chunks))
        deed = rng.randrange(7)
        if deed == 0:
            chunks.insert(rng.randint(1, len(chunks)), make_ancillary(rng))
        elif deed == 1 and len(chunks) > 1:
            del chunks[place]
        elif deed == 2:
            chunks.insert(place, chunks[rng.randrange(len(chunks))])
        elif deed == 3:
            chunks[0] = Part(b"IHDR", make_header(rng))
        elif deed == 4:
            chunks[place] = Part(chunks[place].kind, damage(rng, chunks[place].data))
        elif deed == 5:
            rng.shuffle(chunks)
        else:
            chunks.insert(place, Part(rng.randbytes(4), rng.randbytes(rng.choice((0, 5, 300)))))
    return chunks


def make_header(rng: Random) -> bytes:
    sizes = (0, 1, 28, 4000, 4001, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
    width, height = rng.choice(sizes), rng.choice(sizes)
    rest = bytes(rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 255)) for _ in range(5))
    whole = struct.pack(">II", width, height) + rest
    return whole if rng.random() < 0.9 else whole[: rng.randrange(13)]


def make_ancillary(rng: Random) -> Part:
    """What may stand beside the pixels: texts, profiles, orientation, animation, transparency."""
    zeros = zlib.compress(bytes(rng.choice((10, 1000, 100_000))))
    text = b"comment\0"
    made: Sequence[Part] = (
        Part(b"tEXt", text + rng.randbytes(rng.choice((0, 20, 5000)))),
        Part(b"zTXt", text + b"\0" + zeros),
        Part(b"zTXt", text + b"\0" + damage(rng, zeros)),
        Part(b"iTXt", text + b"\1\0en\0comment\0" + zeros),
        Part(b"iTXt", text + b"\xff\xff"),
        Part(b"iCCP", b"profile\0\0" + zeros),
        Part(b"iCCP", b"no end"),
        Part(b"eXIf", make_exif(rng)),
        Part(b"tRNS", rng.randbytes(rng.choice((0, 1, 2, 6, 256)))),
        Part(b"gAMA", rng.randbytes(rng.choice((4, 3)))),
        Part(b"cHRM", rng.randbytes(32)),
        Part(b"pHYs", rng.randbytes(rng.choice((9, 8)))),
        Part(b"acTL", struct.pack(">II", rng.choice((0, 1, 2, 2**31)), 0)),
        Part(b"fcTL", rng.randbytes(26)),
        Part(b"fdAT", rng.randbytes(30)),
        Part(b"PLTE", rng.randbytes(rng.choice((0, 2, 3, 768, 771)))),
        Part(b"IDAT", rng.choice((b"", zeros, rng.randbytes(40)))),
        Part(b"IEND", b"x"),
    )
    return rng.choice(made)


def make_exif(rng: Random) -> bytes:
    """An orientation, right or not, in a TIFF directory that may be damaged."""
    order = rng.choice((b"II*\0", b"MM\0*"))
    pack = "<" if order[:2] == b"II" else ">"
    value = rng.choice((1, 3, 6, 8, 0, 9, 65_535))
    entry = struct.pack(pack + "HHIHH", 0x0112, rng.choice((3, 2, 4, 99)), 1, value, 0)
    whole = order + struct.pack(pack + "IH", 8, rng.choice((1, 1, 0, 500))) + entry + bytes(4)
    return damage(rng, whole) if rng.random() < 0.3 else whole


def make_jpeg(rng: Random) -> bytes:
    """A small JPEG of any kind that Pillow writes, its segments changed."""
    mode = rng.choice(("L", "RGB", "CMYK"))
    size = rng.choice(((28, 28), (32, 32), (1, 1), (17, 40)))
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1] * channels), np.uint8)
    image = Image.frombytes(mode, size, pixels.tobytes())
    options: dict[str, Any] = {
        "progressive": rng.random() < 0.3,
        "quality": rng.choice((10, 75, 95)),
    }
    if rng.random() < 0.3:
        options["exif"] = b"Exif\0\0" + make_exif(rng)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    segments = split_jpeg(buffer.getvalue())
    if rng.random() < 0.9:
        segments = change_jpeg(rng, segments)
    return b"".join(segment.kind + segment.data for segment in segments)


def split_jpeg(file: bytes) -> list[Part]:
    """Segments with their markers; the scan stays with its header. Lengths are part of the data."""
    parts = [Part(b"\xff\xd8", b"")]
    place = 2
    while place + 4 <= len(file):
        marker = file[place : place + 2]
        if marker == b"\xff\xda":
            break
        (length,) = struct.unpack_from(">H", file, place + 2)
        parts.append(Part(marker, file[place + 2 : place + 2 + length]))
        place += 2 + length
    parts.append(Part(file[place : place + 2], file[place + 2 :]))
    return parts


def change_jpeg(rng: Random, segments: list[Part]) -> list[Part]:
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(segments))
        kind, data = segments[place]
        deed = rng.randrange(7)
        if deed == 0:
            segments.insert(place, make_segment(rng))
        elif deed == 1 and len(segments) > 1:
            del segments[place]
        elif deed == 2:
            segments.insert(place, segments[rng.randrange(len(segments))])
        elif deed == 3:
            segments[place] = Part(kind, data[:2] + damage(rng, data[2:]))
        elif deed == 4:
            segments[place] = Part(
                kind, struct.pack(">H", rng.choice((0, 1, 2, 65_535))) + data[2:]
            )
        elif deed == 5:
            segments[place] = Part(bytes([0xFF, rng.randrange(0xC0, 0x100)]), data)
        else:
            segments = [_lie_about_size(rng, segment) for segment in segments]
    return segments


def _lie_about_size(rng: Random, segment: Part) -> Part:
    """The frame header's height and width."""
    if segment.kind not in {b"\xff\xc0", b"\xff\xc2"} or len(segment.data) < 8:
        return segment
    sizes = struct.pack(">HH", *(rng.choice((0, 1, 28, 4000, 65_535)) for _ in range(2)))
    return Part(segment.kind, segment.data[:3] + sizes + segment.data[7:])


def make_segment(rng: Random) -> Part:
    """An application's segment or a comment, small or as large as one can be."""
    contents = (
        b"Exif\0\0" + make_exif(rng), b"JFIF\0\1\1", b"Adobe\0\x64\0\0\0\0\2",
        b"MPF\0" + make_exif(rng),
        b"ICC_PROFILE\0\1\1" + rng.randbytes(50), b"http://ns.adobe.com/xap/1.0/\0<x/>", b"",
        bytes(rng.choice((10, 65_500))),
    )  # fmt: skip
    data = rng.choice(contents)
    kind = bytes([0xFF, rng.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE))])
    return Part(kind, struct.pack(">H", min(len(data) + 2, 65_535)) + data)


def make_file(rng: Random) -> bytes:
    """Some picture file, or something that looks like one."""
    deed = rng.random()
    if deed < 0.5:
        return make_png(rng)
    if deed < 0.85:
        return make_jpeg(rng)
    if deed < 0.95:
        return rng.choice(NOT_OURS)
    return damage(rng, make_png(rng))
