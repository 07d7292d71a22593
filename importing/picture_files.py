"""Picture files, decoded as the server decodes them: upright, without transparency, in 8 bits."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from core.manifest import PictureSpec
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, shorten

BACKGROUND: int = PictureSpec.model_fields["background"].default  # of the routes that are written
MAX_PIXELS = 64_000_000  # of one file; decoding takes up to 10 bytes a pixel
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")  # Pillow runs programs for others
_SIDEWAYS = range(5, 9)  # orientations that swap height and width
# All errors that Pillow is known to raise on damaged or huge files.
_FAULTS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of the upright picture. Raises ImportFault."""
    try:
        with _open(path) as opened:
            width, height = opened.size
            sideways = opened.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    except ImportFault:
        raise
    except _FAULTS as error:
        raise ImportFault(f"{path}: is no picture: {shorten(error, 100)}") from error
    return (width, height) if sideways else (height, width)


def read_picture(path: Path, size: tuple[int, int], mode: str) -> Array:
    """Decode a file and stretch it to `size`, width and height: UINT8 [H, W], or [H, W, 3].

    `mode` is Pillow's, L or RGB. Raises ImportFault.
    """
    try:
        with _open(path) as opened:
            picture = _flatten(ImageOps.exif_transpose(opened)).convert(mode)
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except ImportFault:
        raise
    except _FAULTS as error:
        raise ImportFault(f"{path}: is no picture: {shorten(error, 100)}") from error


def _open(path: Path) -> Image.Image:
    """Read the file's header. Raises ImportFault if it declares too many pixels to decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
        try:
            opened = Image.open(path, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise ImportFault(f"{path}: is too large: {shorten(error, 100)}") from error
    width, height = opened.size
    if width * height > MAX_PIXELS:
        opened.close()
        raise ImportFault(
            f"{path}: is too large: {width}×{height} pixels, allowed are {MAX_PIXELS:,}; make it "
            "smaller, or leave it out"
        )
    return opened


def _flatten(image: Image.Image) -> Image.Image:
    """Compose on the background; 16 bits keep their upper 8, as Pillow's own conversion clips."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        greys = (samples >> 8).astype(np.uint8)
        hidden = samples == image.info.get("transparency", -1)
        return Image.fromarray(np.where(hidden, np.uint8(BACKGROUND), greys))
    if not image.has_transparency_data:
        return image
    composed = image.convert("RGBA")
    behind = Image.new("RGB", image.size, (BACKGROUND,) * 3)
    behind.paste(composed.convert("RGB"), mask=composed.getchannel("A"))
    return behind
