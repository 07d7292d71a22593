"""What a picture's file says before a pixel is decoded, and what the decoder is then given.

The readers of each format (`png_chunks`, `jpeg_segments`) fill it in; they look at no more than the
tables of a file, and leave out of `stream` all that is no part of the picture.
"""

from typing import Literal, NamedTuple

# Bytes that Pillow holds for a pixel.
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "LA": 4, "RGB": 4, "RGBA": 4, "CMYK": 4}


class DamagedPicture(Exception):
    """What is wrong with a file, in a few words."""


class PictureFile(NamedTuple):
    """One PNG or JPEG. Width and height are those of the stored pixels, before they are turned."""

    format: Literal["PNG", "JPEG"]
    width: int
    height: int
    mode: str  # Pillow's name for the kind of pixels
    stream: bytes  # what the decoder gets: the picture and nothing else
    orientation: int = 1  # 1 to 8, as EXIF counts
    key: tuple[int, ...] | None = None  # the sample or colour of a PNG that is transparent
    passes: float = 1.0  # times that the decoder goes over all pixels
    side_bytes: int = 0  # that the decoder holds beside the pixels

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of what is shown."""
        size = (self.width, self.height)
        return size if self.orientation < 5 else size[::-1]

    @property
    def transparent(self) -> bool:
        return self.key is not None or self.mode in {"LA", "RGBA"}


def image_bytes(width: int, height: int, pixel_bytes: int) -> int:
    """What Pillow holds for an image: lines of whole words, and a pointer to each."""
    return height * (8 + (width * pixel_bytes + 3) // 4 * 4)
