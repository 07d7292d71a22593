"""Reads a picture's orientation from its EXIF or XMP block; ignores everything else in them."""

import re
import struct

_TAG = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 256
_ENTRY_BYTES = 12
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_MAX_XMP_BYTES = 64 * 2**10


def read_exif(block: bytes) -> int | None:
    """Return the orientation, 1 to 8, or None if the TIFF block has none."""
    order = _BYTE_ORDERS.get(block[:4])
    if order is None or len(block) < 10:
        return None
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    if start + 2 > len(block):
        return None
    (entries,) = struct.unpack_from(f"{order}H", block, start)
    first = start + 2
    whole = (len(block) - first) // _ENTRY_BYTES
    for at in range(first, first + min(entries, whole, _MAX_ENTRIES) * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, kind, count = struct.unpack_from(f"{order}HHI", block, at)
        if tag == _TAG and count == 1 and kind in {_SHORT, _LONG}:
            letter = "H" if kind == _SHORT else "I"
            return _known(struct.unpack_from(order + letter, block, at + 8)[0])
    return None


def read_xmp(block: bytes) -> int | None:
    """Return the orientation, 1 to 8, or None if the XMP packet has none."""
    found = _XMP.search(block, 0, _MAX_XMP_BYTES)
    return None if found is None else _known(int(found[1]))


def _known(value: int) -> int:
    return value if 1 <= value <= 8 else 1
