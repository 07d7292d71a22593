"""PNG and JPEG bytes as a route's picture input, by its `PictureSpec`.

What a picture declares is checked before a pixel is decoded. Small pictures are decoded at once;
large ones in a thread, so that they do not hold up everybody else's requests.
"""

import asyncio
import base64
import binascii
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import BodyTooLarge, InvalidInput
from core.manifest import PictureSpec
from serving.tensors import shown

MAX_PICTURES = 256  # in one request
AT_ONCE_PIXELS = 128 * 128  # about 0.3 ms of decoding
FORMATS = ("PNG", "JPEG")

Row = npt.NDArray[np.uint8]

# All that Pillow is known to raise on damaged files.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


async def read_pictures(files: Sequence[bytes], spec: PictureSpec, max_pixels: int) -> Row:
    """UINT8 [N,H,W], or [N,H,W,3] for colour. `max_pixels` bounds what all declare together."""
    pictures = [open_picture(file, place) for place, file in enumerate(files)]
    pixels = sum(picture.width * picture.height for picture in pictures)
    if pixels > max_pixels:
        raise BodyTooLarge(
            f"pictures: given {pixels} pixels in {len(files)} pictures, allowed {max_pixels}"
        )
    if pixels <= AT_ONCE_PIXELS:
        return _read_rows(pictures, spec)
    return await asyncio.to_thread(_read_rows, pictures, spec)


def split_body(body: bytes) -> list[bytes]:
    """The picture files of a body: one PNG or JPEG, or a JSON list of them in base64."""
    if body.lstrip()[:1] != b"[":
        return [body]
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"body: not JSON: {error}") from None
    if not 0 < len(items) <= MAX_PICTURES:
        raise InvalidInput(f"pictures: given {len(items)}, allowed 1 to {MAX_PICTURES}")
    files: list[bytes] = []
    for place, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidInput(f"pictures[{place}]: given {shown(item)}, allowed base64 text")
        try:
            files.append(base64.b64decode(item, validate=True))
        except (binascii.Error, ValueError):
            raise InvalidInput(f"pictures[{place}]: given {shown(item)}, not base64") from None
    return files


def open_picture(file: bytes, place: int = 0) -> Image.Image:
    """A picture with its header read and nothing decoded."""
    try:
        return Image.open(BytesIO(file), formats=FORMATS)
    except UnidentifiedImageError:
        raise InvalidInput(
            f"pictures[{place}]: given {len(file)} bytes that are no picture, allowed PNG or JPEG"
        ) from None
    except _BOMB:
        raise BodyTooLarge(f"pictures[{place}]: declares far too many pixels") from None
    except _DAMAGED as error:
        raise InvalidInput(f"pictures[{place}]: damaged: {error}") from None


def read_row(picture: Image.Image, spec: PictureSpec, place: int = 0) -> Row:
    """Decode and bring to the route's size and colours."""
    try:
        upright = ImageOps.exif_transpose(picture) if picture.format == "JPEG" else picture
        decoded = _to_bytes(upright).convert("L" if spec.channels == 1 else "RGB")
    except _DAMAGED as error:
        raise InvalidInput(f"pictures[{place}]: truncated or damaged: {error}") from None
    size = (spec.width, spec.height)
    if decoded.size != size:
        if not spec.resize:
            raise InvalidInput(
                f"pictures[{place}]: given {decoded.width}×{decoded.height} pixels, allowed"
                f" {spec.width}×{spec.height}"
            )
        decoded = decoded.resize(size, Image.Resampling.BILINEAR)
    return np.array(decoded, dtype=np.uint8)


def _read_rows(pictures: Sequence[Image.Image], spec: PictureSpec) -> Row:
    return np.stack([read_row(picture, spec, place) for place, picture in enumerate(pictures)])


def _to_bytes(picture: Image.Image) -> Image.Image:
    """Sixteen-bit greys to eight bits; Pillow would clip them."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
