"""Pictures: what is let in, what they become, and what is refused before it is decoded."""

import asyncio
import base64
import contextlib
import struct
import zlib
from io import BytesIO

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import BodyTooLarge, InvalidInput
from core.manifest import PictureSpec
from serving.pictures.decode_pool import DecodePool, PoolLimits
from serving.pictures.picture_body import split_body
from serving.pictures.picture_reader import PictureReader
from serving.pictures.pictures import PictureLimits, Row

GREY = PictureSpec(height=4, width=6, channels=1)
COLOUR = PictureSpec(height=4, width=6, channels=3)


def make_file(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def make_picture(height: int = 4, width: int = 6, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(pixels)


def read(*files: bytes, spec: PictureSpec = GREY, max_pixels: int = 1_000_000) -> Row:
    body = orjson.dumps([base64.b64encode(file).decode() for file in files])

    async def read_body() -> Row:
        pool = DecodePool(PoolLimits(1, 10.0, 2**27, 2**27))
        reader = PictureReader(PictureLimits(max_pixels, 2**27), pool)
        try:
            return await reader.read(body if len(files) > 1 else files[0], spec, "", None)
        finally:
            pool.close()

    return asyncio.run(read_body())


def make_png_that_declares(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        file += struct.pack(">I", len(data)) + kind + data + crc
    return file


def test_a_png_of_the_routes_size_arrives_pixel_for_pixel() -> None:
    first, second = make_picture(seed=1), make_picture(seed=2)
    rows = read(make_file(first), make_file(second))
    assert (rows.dtype.name, rows.shape) == ("uint8", (2, 4, 6))
    assert np.array_equal(rows, np.stack([np.asarray(first), np.asarray(second)]))


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = make_picture()
    assert np.array_equal(read(make_file(grey), spec=COLOUR)[0, :, :, 2], np.asarray(grey))
    red = Image.new("RGB", (6, 4), (255, 0, 0))
    assert read(make_file(red)).tolist() == [[[76] * 6] * 4]


def test_a_jpeg_is_read_and_turned_upright() -> None:
    picture = Image.new("L", (4, 6), 0)
    picture.paste(255, (0, 0, 4, 3))  # bright above; shown turned clockwise: bright on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=100)
    (row,) = read(buffer.getvalue())
    assert row.shape == (4, 6)
    assert row[:, 4:].min() > 200 and row[:, :2].max() < 50


def test_sixteen_bit_greys_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.full((4, 6), 0x8000, np.uint16))
    assert read(make_file(deep)).tolist() == [[[128] * 6] * 4]


def test_another_size_is_resized_or_refused_with_both_sizes() -> None:
    big = make_file(Image.new("L", (60, 40), 99))
    assert read(big).tolist() == [[[99] * 6] * 4]
    fixed = PictureSpec(height=4, width=6, channels=1, resize=False)
    with pytest.raises(InvalidInput, match="given 60×40 pixels, allowed 6×4"):
        read(big, spec=fixed)


def test_a_large_picture_gives_the_same_pixels_as_a_small_one() -> None:
    spec = PictureSpec(height=300, width=300, channels=1)
    picture = make_picture(300, 300)
    assert np.array_equal(read(make_file(picture), spec=spec)[0], np.asarray(picture))


@pytest.mark.parametrize("size", [(1_000_000_000, 1), (31_623, 31_623), (10_000, 9_000)])
def test_a_bomb_is_refused_by_what_it_declares(size: tuple[int, int]) -> None:
    with pytest.raises(BodyTooLarge, match="pixels"):
        read(make_png_that_declares(*size), max_pixels=16_000_000)


def test_the_limit_holds_for_all_pictures_together() -> None:
    file = make_file(make_picture())
    assert len(read(file, file, max_pixels=48)) == 2
    with pytest.raises(BodyTooLarge, match="given 48 pixels in 2 pictures, allowed 47"):
        read(file, file, max_pixels=47)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match="allowed PNG or JPEG"):
        read(make_file(make_picture(), kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_anywhere_is_refused_or_whole(kind: str) -> None:
    whole = make_file(make_picture(40, 60), kind)
    spec = PictureSpec(height=40, width=60, channels=1)
    expected = read(whole, spec=spec)
    refused = 0
    for end in range(0, len(whole), 97):
        try:
            assert np.array_equal(read(whole[:end], spec=spec), expected)
        except InvalidInput:
            refused += 1
    assert refused > 10


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.sampled_from(["PNG", "JPEG"]))
def test_damage_is_refused_or_harmless_and_nothing_else(
    place: int, damage: bytes, kind: str
) -> None:
    file = bytearray(make_file(make_picture(), kind))
    place %= len(file)
    file[place : place + len(damage)] = damage
    with contextlib.suppress(InvalidInput):
        assert read(bytes(file)).shape == (1, 4, 6)


def test_a_body_is_one_file_or_a_json_list_in_base64() -> None:
    file = make_file(make_picture())
    assert split_body(file) == [file]
    assert split_body(b" " + orjson.dumps([base64.b64encode(file).decode()] * 2)) == [file, file]


@pytest.mark.parametrize(
    "body", [b"[", b"[]", b"[1]", b'["a"]', b'["a b="]', b"[null]", b'["\xc3\xa4"]', b"[" * 10**5]
)
def test_a_list_that_holds_no_pictures_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        split_body(body)


def test_too_many_pictures_are_refused() -> None:
    with pytest.raises(InvalidInput, match="given 257, allowed 1 to 256"):
        split_body(orjson.dumps([""] * 257))
