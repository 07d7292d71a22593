"""Turns a body of pictures into rows: small work at once, everything else in the decode pool.

One small file, or a short list of few pixels, is decoded in the event loop: half a millisecond at
most. A larger body is split, decoded from base64 and checked in the pool, and then each of its
pictures is decoded there; small pictures of a list are grouped.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from core.errors import InvalidInput
from core.manifest import PictureSpec
from serving.pictures.decode_pool import DecodePool, Pause, Work
from serving.pictures.picture_body import MAX_PICTURES, count_pictures, is_list, split_body
from serving.pictures.picture_file import PictureFile
from serving.pictures.pictures import (
    PictureLimits,
    Row,
    check_room,
    count_bytes,
    open_picture,
    read_row,
)

AT_ONCE_FILE_BYTES = 16 * 2**10
AT_ONCE_LIST_BYTES = 4 * 2**10
AT_ONCE_PICTURES = 4
AT_ONCE_PIXELS = 128 * 128  # times the passes over them
AT_ONCE_DECODE_BYTES = 2**20
_TABLE_UNITS = 10_000  # bytes of a body that take as long as one picture's tables
_TOGETHER_PIXELS = 2**18  # of small pictures in one piece of work, a few milliseconds


class PictureReader:
    """Reads bodies within limits; large work goes to the pool."""

    def __init__(self, limits: PictureLimits, pool: DecodePool) -> None:
        self._limits = limits
        self._pool = pool

    async def read(
        self,
        body: bytes,
        spec: PictureSpec,
        caller: str,
        deadline: float | None,
        max_pictures: int = MAX_PICTURES,
    ) -> Row:
        """Return UINT8 [N,H,W], or [N,H,W,3] for colour. Raises a leaf of the error tree."""
        if len(body) <= (AT_ONCE_LIST_BYTES if is_list(body) else AT_ONCE_FILE_BYTES):
            pictures = _open_all(body, spec, None)
        else:
            units = len(body) + _TABLE_UNITS * count_pictures(body)
            looking = Work(partial(_open_all, body, spec), "body", units, 3 * len(body), len(body))
            (pictures,) = await self._pool.run([looking], caller, deadline)
        if len(pictures) > max_pictures:
            raise InvalidInput(f"pictures: given {len(pictures)}, allowed {max_pictures}")
        decode_bytes = check_room(pictures, spec, self._limits)
        if _is_small(pictures, decode_bytes):
            return _read_rows(pictures, spec, 0, None)
        works = [_make_work(pictures[first:last], spec, first) for first, last in _group(pictures)]
        rows = await self._pool.run(works, caller, deadline)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _open_all(body: bytes, spec: PictureSpec, pause: Pause | None) -> list[PictureFile]:
    pictures = []
    for place, file in enumerate(split_body(body, pause)):
        if pause is not None:
            pause()
        pictures.append(open_picture(file, spec, place))
    return pictures


def _is_small(pictures: Sequence[PictureFile], decode_bytes: int) -> bool:
    return (
        decode_bytes <= AT_ONCE_DECODE_BYTES
        and len(pictures) <= AT_ONCE_PICTURES
        and sum([picture.pixels * picture.passes for picture in pictures]) <= AT_ONCE_PIXELS
    )


def _group(pictures: Sequence[PictureFile]) -> list[tuple[int, int]]:
    """Return the first and last index of each group of pictures that are decoded together."""
    groups = []
    first, pixels = 0, 0.0
    for place, picture in enumerate(pictures):
        pixels += picture.pixels * picture.passes
        if pixels >= _TOGETHER_PIXELS or place == len(pictures) - 1:
            groups.append((first, place + 1))
            first, pixels = place + 1, 0.0
    return groups


def _make_work(pictures: Sequence[PictureFile], spec: PictureSpec, first: int) -> Work[Row]:
    return Work(
        partial(_read_rows, pictures, spec, first),
        pictures[0].format,
        sum(picture.pixels * picture.passes for picture in pictures),
        max(count_bytes(picture, spec) for picture in pictures),
        sum(len(picture.stream) for picture in pictures),
    )


def _read_rows(
    pictures: Sequence[PictureFile], spec: PictureSpec, first: int, pause: Pause | None
) -> Row:
    rows = []
    for place, picture in enumerate(pictures, first):
        if pause is not None:
            pause()
        rows.append(read_row(picture, spec, place, pause))
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
