"""The facts of a picture file before a pixel is decoded, and the input of the decoder.

The readers of each format (`png_chunks`, `jpeg_segments`) fill it in. They read only the tables of
a file, and leave out of `stream` everything that is not part of the picture.
"""

from typing import Literal, NamedTuple

# Bytes that Pillow holds for each pixel.
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "LA": 4, "RGB": 4, "RGBA": 4, "CMYK": 4}


class DamagedPicture(Exception):
    """The fault in a picture file, in a few words."""


class PictureFile(NamedTuple):
    """One PNG or JPEG. Width and height are those of the stored pixels, before any rotation."""

    format: Literal["PNG", "JPEG"]
    width: int
    height: int
    mode: str  # Pillow's name for the pixel format
    stream: bytes  # the decoder's input: the picture alone
    orientation: int = 1  # 1 to 8, as in EXIF
    key: tuple[int, ...] | None = None  # transparent sample or colour of a PNG
    passes: float = 1.0  # how often the decoder passes all pixels
    side_bytes: int = 0  # held by the decoder beside the pixels

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Return width and height after the rotation."""
        size = (self.width, self.height)
        return size if self.orientation < 5 else size[::-1]

    @property
    def transparent(self) -> bool:
        return self.key is not None or self.mode in {"LA", "RGBA"}


def image_bytes(width: int, height: int, pixel_bytes: int) -> int:
    """Return the bytes that Pillow holds for an image: lines of whole words, and a pointer to
    each.
    """
    return height * (8 + (width * pixel_bytes + 3) // 4 * 4)
