"""Picture files, decoded as the server decodes them: upright, without transparency, in 8 bits."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from core.manifest import PictureSpec
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, shorten

BACKGROUND: int = PictureSpec.model_fields["background"].default  # of the routes that are written
_SIDEWAYS = range(5, 9)  # orientations that swap height and width
# All errors that Pillow is known to raise on damaged or huge files.
_FAULTS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of the upright picture. Raises ImportFault."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            sideways = opened.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    except _FAULTS as error:
        raise _name_fault(path, error) from error
    return (width, height) if sideways else (height, width)


def read_picture(path: Path, size: tuple[int, int], mode: str) -> Array:
    """Decode a file and stretch it to `size`, width and height: UINT8 [H, W], or [H, W, 3].

    `mode` is Pillow's, L or RGB. Raises ImportFault.
    """
    try:
        with Image.open(path) as opened:
            picture = _flatten(ImageOps.exif_transpose(opened)).convert(mode)
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except _FAULTS as error:
        raise _name_fault(path, error) from error


def _name_fault(path: Path, error: Exception) -> ImportFault:
    if isinstance(error, Image.DecompressionBombError):
        return ImportFault(f"{path}: is too large: {shorten(error, 100)}")
    return ImportFault(f"{path}: is no picture: {shorten(error, 100)}")


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
