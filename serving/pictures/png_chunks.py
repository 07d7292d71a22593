"""Reads the chunk table of a PNG: the picture's facts, and the file without unneeded parts.

Text, colour profiles, times, animation frames and all other ancillary chunks are left out, so that
nothing in them is decompressed. An animation becomes its still picture. A transparent palette is
composed on the background here, colour by colour.
"""

import struct
import zlib
from typing import NamedTuple

from serving.pictures.orientation import read_exif
from serving.pictures.picture_file import DamagedPicture, PictureFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CHUNK = struct.Struct(">I4s")
_HEADER = struct.Struct(">IIBBBBB")
_AROUND = 12  # bytes of a chunk beside its data
_MAX_CHUNKS = 64  # plus one for every so many bytes of the file
_BYTES_PER_CHUNK = 256
_MAX_EXIF_BYTES = 64 * 2**10
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_MODES = {
    (1, 0): "1", (2, 0): "L", (4, 0): "L", (8, 0): "L", (16, 0): "I;16",
    (8, 2): "RGB", (16, 2): "RGB",
    (1, 3): "P", (2, 3): "P", (4, 3): "P", (8, 3): "P",
    (8, 4): "LA", (16, 4): "RGBA", (8, 6): "RGBA", (16, 6): "RGBA",
}  # fmt: skip
_PICTURE = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_SINGLE = frozenset({b"IHDR", b"PLTE", b"tRNS"})


class _Table(NamedTuple):
    """Positions of the data in the chunks that matter."""

    pixels: list[slice]
    one: dict[bytes, slice]  # chunks that occur at most once
    plain: bool  # no chunk must be left out


def read_png(file: bytes, background: int) -> PictureFile:
    """Read a PNG's chunks. Raises DamagedPicture."""
    table = _read_table(file)
    if table.one[b"IHDR"].start != len(SIGNATURE) + 8:
        raise DamagedPicture("does not begin with IHDR")
    header = file[table.one[b"IHDR"]]
    if len(header) != _HEADER.size:
        raise DamagedPicture(f"has a header of {len(header)} bytes")
    width, height, depth, kind, _, _, interlaced = _HEADER.unpack(header)
    mode = _MODES.get((depth, kind))
    if mode is None or not width or not height:
        raise DamagedPicture(
            f"declares {width}×{height} pixels of {depth} bits in colour type {kind}"
        )
    if not table.pixels:
        raise DamagedPicture("has no pixels")
    orientation = 1
    if b"eXIf" in table.one:
        place = table.one[b"eXIf"]
        orientation = (
            read_exif(file[place.start : min(place.stop, place.start + _MAX_EXIF_BYTES)]) or 1
        )
    see_through = file[table.one[b"tRNS"]] if b"tRNS" in table.one else None
    palette = file[table.one[b"PLTE"]] if b"PLTE" in table.one else None
    if kind == _PALETTE:
        palette = _compose_palette(palette, see_through, background)
    stream = file
    if not table.plain:
        _check_sums(file, table.one)
        stream = _write(file, header, palette if kind == _PALETTE else None, table.pixels)
    return PictureFile(
        "PNG", width, height, mode, stream, orientation,
        key=_read_key(see_through, kind, depth),
        passes=1.5 if interlaced else 1.0,
        side_bytes=2 * (width * 8 + 1),  # two lines of up to 8 bytes for each pixel
    )  # fmt: skip


def _read_table(file: bytes) -> _Table:
    pixels: list[slice] = []
    one: dict[bytes, slice] = {}
    plain = True
    at, end = len(SIGNATURE), len(file)
    left = _MAX_CHUNKS + end // _BYTES_PER_CHUNK
    kind = b""
    while kind != b"IEND" and at + _AROUND <= end + 4:  # the last checksum may be cut off
        length, kind = _CHUNK.unpack_from(file, at)
        place = slice(at + 8, min(at + 8 + length, end))
        at += _AROUND + length
        left -= 1
        if not kind.isalpha() or left < 0:
            raise DamagedPicture("has too many chunks, or one without a name")
        plain = plain and kind in _PICTURE
        if kind == b"IDAT":
            pixels.append(place)
        elif kind == b"eXIf":
            one.setdefault(kind, place)
        elif kind in _SINGLE:
            if kind in one or at > end or pixels:
                raise DamagedPicture(f"has {kind.decode()} twice, cut off or after its pixels")
            one[kind] = place
    if b"IHDR" not in one:
        raise DamagedPicture("has no header")
    return _Table(pixels, one, plain)


def _check_sums(file: bytes, one: dict[bytes, slice]) -> None:
    """Check the checksums of chunks that are rewritten; Pillow checks those of an unchanged
    file.
    """
    for kind in (b"IHDR", b"PLTE", b"tRNS"):
        place = one.get(kind)
        if place is not None and _sum(kind, file[place]) != file[place.stop : place.stop + 4]:
            raise DamagedPicture(f"has a wrong checksum of {kind.decode()}")


def _compose_palette(palette: bytes | None, alphas: bytes | None, background: int) -> bytes:
    """Return the palette with every transparent colour composed on the background."""
    if palette is None or len(palette) % 3 or not 3 <= len(palette) <= 768:
        raise DamagedPicture("has no palette of 1 to 256 colours")
    if not alphas:
        return palette
    composed = bytearray(palette)
    for place, alpha in enumerate(alphas[: len(palette) // 3]):
        for at in range(3 * place, 3 * place + 3):
            composed[at] = (palette[at] * alpha + background * (255 - alpha) + 127) // 255
    return bytes(composed)


def _read_key(see_through: bytes | None, kind: int, depth: int) -> tuple[int, ...] | None:
    """Return the transparent sample or colour as the decoder gives it: 8 bits, or 16 for deep
    grey.
    """
    if not see_through:
        return None
    if kind == _GREY and len(see_through) == 2:
        (sample,) = struct.unpack(">H", see_through)
        sample &= 2**depth - 1
        return (sample if depth == 16 else sample * 255 // (2**depth - 1),)
    if kind == _COLOUR and len(see_through) == 6:
        return tuple(sample >> (depth - 8) & 255 for sample in struct.unpack(">3H", see_through))
    return None


def _write(file: bytes, header: bytes, palette: bytes | None, pixels: list[slice]) -> bytes:
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette))
    size_bytes = sum(place.stop - place.start for place in pixels)
    parts.append(_CHUNK.pack(size_bytes, b"IDAT"))
    parts += [file[place] for place in pixels]
    parts += [bytes(4), _chunk(b"IEND", b"")]  # Pillow does not check the checksum of pixels
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return _CHUNK.pack(len(data), kind) + data + _sum(kind, data)


def _sum(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
