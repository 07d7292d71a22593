"""Converts PNG and JPEG files to a route's picture input, as its `PictureSpec` describes it.

This package first reads a file's tables itself and leaves out everything that is not part of the
picture: Pillow gets only what passed the limits. Transparent pixels are composed on the route's
background, so that hidden colours have no effect.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from core.errors import BodyTooLarge, InvalidInput
from core.manifest import PictureSpec
from serving.pictures import jpeg_segments, png_chunks
from serving.pictures.picture_file import PIXEL_BYTES, DamagedPicture, PictureFile, image_bytes

PIECE_BYTES = 4096  # that Pillow decompresses at once: at most 4 MB of a PNG's pixels
STRIP_PIXELS = 2**18  # composed at once

Row = npt.NDArray[np.uint8]
Pause = Callable[[], object]  # called between pieces of work; raises to end the work

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# All errors that Pillow is known to raise on damaged files.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip


def open_picture(file: bytes, spec: PictureSpec, place: int = 0) -> PictureFile:
    """Read a file's tables and decode nothing. Raises InvalidInput."""
    try:
        if file.startswith(png_chunks.SIGNATURE):
            picture = png_chunks.read_png(file, spec.background)
        elif file.startswith(jpeg_segments.START):
            picture = jpeg_segments.read_jpeg(file)
        else:
            raise InvalidInput(
                f"pictures[{place}]: given {len(file)} bytes that are no picture, allowed PNG or"
                " JPEG"
            )
    except DamagedPicture as error:
        raise InvalidInput(f"pictures[{place}]: damaged: the file {error}") from None
    width, height = picture.upright_size
    if not spec.resize and (width, height) != (spec.width, spec.height):
        raise InvalidInput(
            f"pictures[{place}]: given {width}×{height} pixels, allowed {spec.width}×{spec.height}"
        )
    return picture


class PictureLimits(NamedTuple):
    """Limits on the pictures of one request."""

    max_pixels: int  # declared by all of them together
    max_decode_bytes: int  # while one of them is decoded


def check_room(pictures: Sequence[PictureFile], spec: PictureSpec, limits: PictureLimits) -> int:
    """Return the bytes that decoding takes, one picture after another. Raises BodyTooLarge."""
    pixels = sum(picture.pixels for picture in pictures)
    if pixels > limits.max_pixels:
        raise BodyTooLarge(
            f"pictures: given {pixels} pixels in {len(pictures)} pictures, allowed"
            f" {limits.max_pixels}"
        )
    made = len(pictures) * spec.width * spec.height
    if len(pictures) > 1 and made > limits.max_pixels:
        raise BodyTooLarge(
            f"pictures: given {len(pictures)}, which become {made} pixels of the route's size,"
            f" allowed {limits.max_pixels}"
        )
    all_bytes = 0
    for place, picture in enumerate(pictures):
        needed = count_bytes(picture, spec)
        if needed > limits.max_decode_bytes:
            raise BodyTooLarge(
                f"pictures[{place}]: decoding {picture.width}×{picture.height} pixels of this kind"
                f" takes {needed} bytes, allowed {limits.max_decode_bytes}"
            )
        all_bytes += needed
    return all_bytes


def read_row(
    picture: PictureFile, spec: PictureSpec, place: int = 0, pause: Pause | None = None
) -> Row:
    """Decode a picture and convert it to the route's size and colours. Raises InvalidInput."""
    try:
        shorten = _flatten(_decode(picture, pause), picture, spec, pause)
    except _DAMAGED as error:
        raise InvalidInput(f"pictures[{place}]: truncated or damaged: {error}") from None
    turn = _TRANSPOSES.get(picture.orientation)
    if turn is not None:
        shorten = shorten.transpose(turn)
    size = (spec.width, spec.height)
    if shorten.size != size:
        shorten = shorten.resize(size, Image.Resampling.BILINEAR)
    shape = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, 3)
    return np.frombuffer(shorten.tobytes(), np.uint8).reshape(shape)


def count_bytes(picture: PictureFile, spec: PictureSpec) -> int:
    """Return the most memory that `read_row` holds at once, without the file."""
    pixel_bytes = PIXEL_BYTES[_target(spec)]
    width, height = picture.upright_size
    decoded = image_bytes(picture.width, picture.height, PIXEL_BYTES[picture.mode])
    flat = image_bytes(picture.width, picture.height, pixel_bytes)
    turned = image_bytes(width, height, pixel_bytes)
    narrowed = image_bytes(spec.width, height, pixel_bytes)
    weights = 16 * (width + height) + 24 * (spec.width + spec.height)
    if picture.mode == _target(spec) and not picture.transparent:
        flat = 0
    held = [
        decoded + picture.side_bytes,
        decoded + flat,
        (flat or decoded) + (turned if picture.orientation != 1 else 0),
        turned + (narrowed + weights if (width, height) != (spec.width, spec.height) else 0),
    ]
    return max(held) + image_bytes(spec.width, spec.height, 2 * pixel_bytes)


class _PausingFile(BytesIO):
    """A file that calls `pause` before each piece is read."""

    def __init__(self, content: bytes, pause: Pause) -> None:
        super().__init__(content)
        self._pause = pause

    def read(self, size: int | None = -1, /) -> bytes:
        self._pause()
        return super().read(size)


def _decode(picture: PictureFile, pause: Pause | None) -> Image.Image:
    file = BytesIO(picture.stream) if pause is None else _PausingFile(picture.stream, pause)
    opened = PngImageFile(file) if picture.format == "PNG" else JpegImageFile(file)
    if (opened.width, opened.height, opened.mode) != (picture.width, picture.height, picture.mode):
        raise ValueError("its tables contradict each other")
    opened.decodermaxblock = PIECE_BYTES
    opened.load()
    return opened


def _target(spec: PictureSpec) -> str:
    return "L" if spec.channels == 1 else "RGB"


def _flatten(
    image: Image.Image, picture: PictureFile, spec: PictureSpec, pause: Pause | None
) -> Image.Image:
    """Convert to grey or colour of 8 bits, without transparency."""
    target = _target(spec)
    if not picture.transparent and image.mode != "I;16":
        return image if image.mode == target else image.convert(target)
    if image.width * image.height <= STRIP_PIXELS:
        return _compose(image, picture.key, spec.background).convert(target)
    flat = Image.new(target, image.size)
    lines = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, lines):
        if pause is not None:
            pause()
        strip = image.crop((0, top, image.width, min(top + lines, image.height)))
        flat.paste(_compose(strip, picture.key, spec.background).convert(target), (0, top))
    return flat


def _compose(image: Image.Image, key: tuple[int, ...] | None, background: int) -> Image.Image:
    """Compose grey or RGB on the background."""
    if image.mode in {"LA", "RGBA"}:
        opaque = image.convert("L" if image.mode == "LA" else "RGB")
        behind = Image.new(opaque.mode, image.size, (background,) * len(opaque.getbands()))
        behind.paste(opaque, mask=image.getchannel("A"))
        return behind
    samples = np.asarray(image.convert("L") if image.mode == "1" else image)
    greys = (samples >> 8).astype(np.uint8) if image.mode == "I;16" else samples
    if key is not None:
        hidden = samples == (key[0] if len(key) == 1 else np.array(key, samples.dtype))
        if greys.ndim == 3:
            hidden = hidden.all(axis=2, keepdims=True)
        greys = np.where(hidden, np.uint8(background), greys)
    return Image.fromarray(greys)
