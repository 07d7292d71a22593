"""What Pillow is given of a file: the same pixels as of the whole, and nothing that grows."""

import itertools
import struct
import time
import tracemalloc
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from core.errors import BodyTooLarge, InvalidInput
from core.manifest import PictureSpec
from serving.pictures.pictures import (
    PictureLimits,
    Row,
    check_room,
    count_bytes,
    open_picture,
    read_row,
)
from tests.fakes.picture_files import (
    chunk,
    make_exif,
    repeat_last_scan,
    write_file,
    write_png,
    write_random_png,
)

SPECS = [
    PictureSpec(height=height, width=width, channels=channels)
    for height, width in ((9, 7), (40, 50))
    for channels in (1, 3)
]
GREY, COLOUR = SPECS[2:]
LIMITS = PictureLimits(16_000_000, 176 * 2**20)
KINDS = [(depth, kind) for kind in (0, 3) for depth in (1, 2, 4, 8)] + [(16, 0), (8, 2), (16, 2)]
SHIPPED = Path(__file__).parents[3] / "docs" / "pictures"
LINES = b"".join(b"\0" + bytes(range(28)) for _ in range(28))
TEXT = zlib.compress(b"a" * 2**20, 9)


def read(file: bytes, spec: PictureSpec = GREY, *, pauses: bool = False) -> Row:
    return read_row(open_picture(file, spec), spec, 0, (lambda: None) if pauses else None)


def read_plainly(file: bytes, spec: PictureSpec) -> Row:
    """What Pillow makes of the whole file."""
    opened: Image.Image = Image.open(BytesIO(file))
    picture = ImageOps.exif_transpose(opened)
    if picture.mode == "I;16":
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    picture = picture.convert("L" if spec.channels == 1 else "RGB")
    return np.asarray(picture.resize((spec.width, spec.height), Image.Resampling.BILINEAR))


def check_equal(file: bytes) -> None:
    for spec, pauses in itertools.product(SPECS, (False, True)):
        assert np.array_equal(read(file, spec, pauses=pauses), read_plainly(file, spec))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.booleans(),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 99),
)
def test_a_png_gives_the_pixels_that_pillow_sees(
    kind: tuple[int, int], interlaced: bool, width: int, height: int, seed: int
) -> None:
    check_equal(write_random_png(width, height, *kind, interlaced=interlaced, seed=seed))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["L", "RGB", "CMYK"]), st.booleans(), st.integers(0, 2), st.integers(1, 95),
    st.integers(1, 8), st.integers(0, 3), st.integers(0, 99),
)  # fmt: skip
def test_a_jpeg_gives_the_pixels_that_pillow_sees(
    mode: str, progressive: bool, sampling: int, quality: int, turn: int, restart: int, seed: int
) -> None:
    few = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(few).resize((90, 70)).convert(mode)
    check_equal(
        write_file(
            picture, "JPEG", quality=quality, subsampling=sampling, progressive=progressive,
            restart_marker_rows=restart, exif=make_exif(turn), comment=b"no pixels",
            icc_profile=bytes(70_000),
        )
    )  # fmt: skip


@pytest.mark.parametrize("name", ["coat.png", "shirt.png", "ankle-boot.png"])
def test_the_shipped_pictures_stay_what_they_are(name: str) -> None:
    file = (SHIPPED / name).read_bytes()
    check_equal(file)
    assert open_picture(file, GREY).stream is file


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_kind_of_file_is_turned_upright(turn: int) -> None:
    picture = Image.fromarray(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50).astype(np.uint8))
    exif = make_exif(turn)
    plain = write_file(picture, "JPEG", quality=95, exif=exif)
    several = write_file(
        picture, "MPO", quality=95, exif=exif, save_all=True, append_images=[picture.resize((9, 9))]
    )
    assert np.array_equal(read(several), read(plain))
    assert np.array_equal(read(plain), read_plainly(plain, GREY))
    png = write_file(picture, "PNG", exif=exif)
    assert np.array_equal(read(png), read_plainly(png, GREY))


def test_an_orientation_in_xmp_counts_where_exif_says_nothing() -> None:
    plain = write_file(Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)), "JPEG")
    packet = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='1' tiff:Orientation=\"6\"/>"
    segment = b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet
    assert open_picture(plain[:2] + segment + plain[2:], GREY).orientation == 6


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"MM\0*" + b"\xff" * 4, b"II*\0\x08\0\0\0\xff\xff"]
)
def test_a_broken_exif_turns_nothing(exif: bytes) -> None:
    assert (
        open_picture(write_png(28, 28, LINES, before=chunk(b"eXIf", exif)), GREY).orientation == 1
    )


def test_of_an_animation_the_still_picture_counts() -> None:
    first, second = Image.new("L", (50, 40), 10), Image.new("L", (50, 40), 200)
    file = write_file(first, "PNG", save_all=True, append_images=[second], default_image=True)
    assert b"acTL" in file
    assert read(file).tolist() == [[10] * 50] * 40


@pytest.mark.parametrize("background", [0, 255, 128])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_hidden_colours_decide_nothing(mode: str, background: int) -> None:
    spec = PictureSpec(height=40, width=50, channels=3, background=background)
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 256, (40, 50, len(mode)), dtype=np.uint8)
    alpha = rng.choice([0, 90, 255], (40, 50)).astype(np.uint8)
    seen[..., -1] = alpha
    other = seen.copy()
    other[alpha == 0, :-1] = rng.integers(0, 256, (int((alpha == 0).sum()), len(mode) - 1))
    row, same = (read(write_file(Image.fromarray(one)), spec) for one in (seen, other))
    assert np.array_equal(row, same)
    assert (row[alpha == 0] == background).all()
    colours = np.broadcast_to(seen[..., :-1], (40, 50, 3))
    assert np.array_equal(row[alpha == 255], colours[alpha == 255])
    mixed = (colours.astype(float) * 90 + background * 165) / 255
    assert np.abs(row - mixed)[alpha == 90].max() <= 1


def test_a_transparent_palette_is_composed() -> None:
    spec = PictureSpec(height=1, width=3, channels=3, background=100)
    palette = chunk(b"PLTE", bytes([9, 9, 9, 200, 0, 0, 1, 2, 3])) + chunk(b"tRNS", bytes([0, 51]))
    row = read(write_png(3, 1, b"\0\0\1\2", kind=3, before=palette), spec)
    assert row.tolist() == [[[100] * 3, [120, 80, 80], [1, 2, 3]]]


@pytest.mark.parametrize(("depth", "key", "line"), [
    (1, 1, b"\x40"), (2, 2, b"\x24"), (8, 7, bytes([1, 7, 9])), (16, 0x0708, b"\1\0\7\10\7\11"),
])  # fmt: skip
def test_a_transparent_grey_is_the_background(depth: int, key: int, line: bytes) -> None:
    spec = PictureSpec(height=1, width=3, channels=1, background=200)
    file = write_png(3, 1, b"\0" + line, depth=depth, before=chunk(b"tRNS", struct.pack(">H", key)))
    row = read(file, spec)[0].tolist()
    assert row[1] == 200
    assert row[0] < 200 and row[2] < 200


def test_a_transparent_colour_is_the_background() -> None:
    spec = PictureSpec(height=1, width=2, channels=3, background=50)
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    assert read(write_png(2, 1, b"\0\1\2\3\1\2\4", kind=2, before=key), spec).tolist() == [
        [[50, 50, 50], [1, 2, 4]]
    ]


ATTACKS = {
    "text": chunk(b"zTXt", b"k\0\0" + TEXT) * 63,
    "international text": chunk(b"iTXt", b"k\0\1\0\0\0" + TEXT) * 63,
    "a colour profile": chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**24), 9)),
    "EXIF": chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535)),
    "animation control": chunk(b"acTL", bytes(8)) * 30,
    "unknown chunks": chunk(b"abcd", bytes(2**20)) * 8,
}


@pytest.mark.parametrize("before", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_is_no_picture_is_not_unpacked(before: bytes) -> None:
    spec = PictureSpec(height=28, width=28, channels=1)
    file = write_png(28, 28, LINES, before=before, after=before)
    read(file, spec)
    tracemalloc.start()
    began_s = time.process_time()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        row = read(file, spec)
    spent_s = time.process_time() - began_s
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row[5].tolist() == list(range(28))
    assert peak_bytes < 200_000 and spent_s < 0.05
    assert not warned


MANY = chunk(b"IDAT", b"") * 20_000
REFUSED = {
    "chunks": (write_png(28, 28, LINES, after=MANY), "too many chunks"),
    "scans": (repeat_last_scan(write_file(Image.new("L", (64, 64)), "JPEG", progressive=True), 999),
              "more than 100 scans"),
    "segments": (b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000, "too many segments"),
    "fill bytes": (b"\xff\xd8" + b"\xff" * 200_000 + b"\xfe", "no pixels"),
    "a second header": (write_png(28, 28, LINES, before=chunk(b"IHDR", bytes(13))), "IHDR twice"),
    "no palette": (write_png(3, 1, b"\0\0\1\2", kind=3), "no palette"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_work_without_a_picture_is_refused(file: bytes, words: str) -> None:
    began_s = time.process_time()
    with pytest.raises(InvalidInput, match=words):
        open_picture(file, GREY)
    assert time.process_time() - began_s < 0.25


def test_more_pixels_than_declared_are_not_unpacked() -> None:
    file = write_png(1, 1, bytes(50_000_000))
    began_s = time.process_time()
    assert read(file, GREY).shape == (40, 50)
    assert time.process_time() - began_s < 0.1


@pytest.mark.parametrize(("width", "height"), [(2, 8_000_000), (16_000_000, 1), (8, 2_000_000)])
def test_a_picture_whose_shape_takes_too_much_memory_is_refused(width: int, height: int) -> None:
    spec = PictureSpec(height=224, width=224, channels=3)
    picture = open_picture(write_png(width, height, b""), spec)
    with pytest.raises(BodyTooLarge, match=r"pictures\[0\]: decoding .* pixels of this kind takes"):
        check_room([picture], spec, LIMITS)


def test_pictures_of_a_phone_fit() -> None:
    spec = PictureSpec(height=224, width=224, channels=3)
    file = write_file(Image.new("RGB", (80, 60)), "JPEG", progressive=True, subsampling=2)
    picture = open_picture(file, spec)
    large = picture._replace(
        width=4608, height=3456, orientation=6, side_bytes=picture.side_bytes * 3318
    )
    assert check_room([large], spec, LIMITS) == count_bytes(large, spec) < 150 * 10**6


def test_small_pictures_for_a_large_route_are_counted_by_what_they_become() -> None:
    spec = PictureSpec(height=4000, width=4000, channels=1)
    picture = open_picture(write_png(1, 1, b"\0\0"), spec)
    assert check_room([picture], spec, LIMITS) < 150 * 10**6
    with pytest.raises(BodyTooLarge, match="2, which become 32000000 pixels"):
        check_room([picture, picture], spec, LIMITS)
