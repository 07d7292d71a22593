"""Reads the segments of a JPEG: the picture's facts, and the file without unneeded parts.

Comments, colour profiles, thumbnails and everything after the first picture (the previews and
further pictures of MPO) are left out. The reader counts how often the decoder must pass over the
picture: a progressive file of a few kilobytes can demand thousands of passes.
"""

import re
import struct
from typing import NamedTuple

from serving.pictures.orientation import read_exif, read_xmp
from serving.pictures.picture_file import DamagedPicture, PictureFile

START = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # restart markers are part of the scan
_WINDOW_BYTES = 2**20  # searched at once: other threads run between
_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantization, restarts
_OTHER_FRAMES = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # segments without a length
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
MAX_SEGMENTS = 1024
MAX_SCANS = 100
MAX_PASSES = 16  # over all blocks on average; encoders use 5 to 10
MAX_JUNK_BYTES = 2**16  # between segments
_BLOCK_BYTES = 128  # of coefficients that a decoder keeps between scans


class _Frame(NamedTuple):
    width: int
    height: int
    blocks: tuple[int, ...]  # of 8×8 samples, for each component
    by_number: dict[int, int]  # the same by component number
    progressive: bool


class _Reader:
    """Walks once through a file."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.parts: list[bytes] = [START[:2]]
        self.left = MAX_SEGMENTS
        self.frame: _Frame | None = None
        self.orientation: int | None = None
        self.xmp: int | None = None
        self.junk_bytes = 0
        self.scans = 0
        self.visits = 0  # blocks, counted once for each scan that passes them
        self.keeps = False  # keeps coefficients until all scans are read

    def walk(self) -> None:
        at = 2
        while (found := self._find(_MARKER, at)) is not None:
            self.junk_bytes += found - at
            self.left -= 1
            if self.left < 0 or self.junk_bytes > MAX_JUNK_BYTES:
                raise DamagedPicture("has too many segments, or too much between them")
            at = found
            code = self.file[at + 1]
            if code == _END:
                self.parts.append(b"\xff\xd9")
                return
            if code in _ALONE:
                at += 2
                continue
            end = self._end_of_segment(at, code)
            if code == _SCAN:
                end = self._read_scan(at, end)
            else:
                self._read_segment(code, at, end)
            at = end

    def _find(self, pattern: re.Pattern[bytes], at: int) -> int | None:
        end = len(self.file)
        if pattern is _MARKER:
            end = min(end, at + 2 * MAX_JUNK_BYTES)
        while at < end:
            found = pattern.search(self.file, at, min(end, at + _WINDOW_BYTES + 1))
            if found is not None:
                return found.start()
            at += _WINDOW_BYTES
        return None

    def _end_of_segment(self, at: int, code: int) -> int:
        length = int.from_bytes(self.file[at + 2 : at + 4])
        end = at + 2 + length
        if length < 2 or end > len(self.file):
            raise DamagedPicture(f"ends in segment {code:02X}")
        return end

    def _read_segment(self, code: int, at: int, end: int) -> None:
        segment = self.file[at:end]
        if code in _FRAMES:
            self._read_frame(code, segment)
        elif code in _OTHER_FRAMES or code == 0xD8:
            raise DamagedPicture(
                f"has a segment {code:02X}, allowed are frames C0 to C3 and C9 to CB"
            )
        elif code in _TABLES:
            self.parts.append(segment)
        elif not self.scans and 0xE0 <= code <= 0xEF:
            self._read_application(code, segment)

    def _read_application(self, code: int, segment: bytes) -> None:
        if (code == 0xE0 and segment[4:8] == b"JFIF") or (
            code == 0xEE and segment[4:9] == b"Adobe"
        ):
            self.parts.append(segment)  # they define the components' colours
        elif code == 0xE1 and segment[4:10] == _EXIF and self.orientation is None:
            self.orientation = read_exif(segment[10:])
        elif code == 0xE1 and segment.startswith(_XMP, 4) and self.xmp is None:
            self.xmp = read_xmp(segment[4 + len(_XMP) :])

    def _read_frame(self, code: int, segment: bytes) -> None:
        if self.frame is not None:
            raise DamagedPicture("has more than one frame")
        if len(segment) < 10:
            raise DamagedPicture("has a frame without components")
        bits, height, width, count = struct.unpack_from(">BHHB", segment, 4)
        if bits != 8 or count not in _MODES or len(segment) != 10 + 3 * count:
            raise DamagedPicture(f"has {count} components of {bits} bits")
        if not width or not height:
            raise DamagedPicture(f"declares {width}×{height} pixels")
        factors = [divmod(factor, 16) for factor in segment[11::3]]
        if not all(1 <= across <= 4 and 1 <= down <= 4 for across, down in factors):
            raise DamagedPicture("has sampling factors that are not 1 to 4")
        columns = -(-width // (8 * max(across for across, _ in factors)))
        rows = -(-height // (8 * max(down for _, down in factors)))
        blocks = tuple(columns * across * rows * down for across, down in factors)
        by_number = dict(zip(segment[10::3], blocks, strict=True))
        self.frame = _Frame(width, height, blocks, by_number, code in _PROGRESSIVE)
        self.parts.append(segment)

    def _read_scan(self, at: int, end: int) -> int:
        """Return the position after the scan's entropy-coded data."""
        frame = self.frame
        if frame is None:
            raise DamagedPicture("has a scan before its frame")
        if end - at < 5:
            raise DamagedPicture("has a scan without components")
        count = self.file[at + 4]
        named = self.file[at + 5 : end][: 2 * count : 2]
        self.scans += 1
        self.visits += sum(frame.by_number.get(number, 0) for number in named)
        self.keeps = self.keeps or frame.progressive or count < len(frame.blocks)
        if self.scans > MAX_SCANS or self.visits > MAX_PASSES * sum(frame.blocks):
            raise DamagedPicture(
                f"has more than {MAX_SCANS} scans or {MAX_PASSES} over all its pixels"
            )
        after = len(self.file)
        if self.keeps:  # otherwise it is the only scan and ends with the picture
            after = self._find(_AFTER_SCAN, end) or after
        self.parts.append(self.file[at:after])
        return after


def read_jpeg(file: bytes) -> PictureFile:
    """Read a JPEG's segments. Raises DamagedPicture."""
    reader = _Reader(file)
    reader.walk()
    frame = reader.frame
    if frame is None or not reader.scans:
        raise DamagedPicture("has no pixels")
    all_blocks = sum(frame.blocks)
    return PictureFile(
        "JPEG",
        frame.width,
        frame.height,
        _MODES[len(frame.blocks)],
        b"".join(reader.parts),
        reader.orientation or reader.xmp or 1,
        passes=max(1.0, (2 + reader.visits / all_blocks) / 3),  # a scan costs a third of the work
        side_bytes=all_blocks * _BLOCK_BYTES if reader.keeps else 0,
    )
