"""HTTP/2 frames and just enough of HPACK: headers are written as plain literals, and those of a
peer that was instructed to keep no table are read back.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reliability.wire.conversation import Header

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = range(6)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
CANCEL = 8
MAX_FRAME = 16_384
WINDOW = 2**31 - 1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
START_WINDOW = 65_535  # of a connection, and of a stream unless settings say otherwise

# Names of HPACK's static table that a server may refer to; 8 to 14 are `:status` with values.
_STATIC = {8: "200", 9: "204", 10: "206", 11: "304", 12: "400", 13: "404", 14: "500"}
_STATIC_NAMES = {8: b":status", 28: b"content-length", 31: b"content-type", 54: b"server"}


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """`stream` may have its reserved bit set."""
    head = struct.pack(">I", len(payload) & 0xFFFFFF)[1:]
    return head + struct.pack(">BBI", kind, flags, stream) + payload


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    payload = b"".join(struct.pack(">HI", *pair) for pair in pairs)
    return frame(SETTINGS, 0, 0, payload)


def window_update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def hello() -> bytes:
    """What a client says first: no header table, and windows that never fill."""
    wanted = [(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, WINDOW)]
    return PREFACE + settings(wanted) + window_update(0, WINDOW - START_WINDOW)


def split_frames(buffer: bytearray) -> Iterator[Frame]:
    """Take whole frames off a buffer."""
    while len(buffer) >= 9:
        size = int.from_bytes(buffer[:3], "big")
        if len(buffer) < 9 + size:
            return
        kind, flags, stream = struct.unpack_from(">BBI", buffer, 3)
        payload = bytes(buffer[9 : 9 + size])
        del buffer[: 9 + size]
        yield Frame(kind, flags, stream & 0x7FFFFFFF, payload)


def pack_headers(headers: Sequence[Header]) -> bytes:
    """Each as a literal that is never put into a table."""
    return b"".join(
        b"\x00" + _length(len(name)) + name + _length(len(value)) + value for name, value in headers
    )


def _length(value: int) -> bytes:
    """An integer with a prefix of seven bits."""
    if value < 127:
        return bytes([value])
    out, value = bytearray([127]), value - 127
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_headers(block: bytes) -> dict[bytes, bytes]:
    """The headers of a block written without a dynamic table; a Huffman-coded value is kept packed.

    Raises ValueError when the block is something else.
    """
    found: dict[bytes, bytes] = {}
    place = 0
    try:
        while place < len(block):
            first = block[place]
            if first & 0x80:
                index, place = _integer(block, place, 7)
                found[_STATIC_NAMES.get(8 if index in _STATIC else index, b"?")] = _STATIC.get(
                    index, "?"
                ).encode()
                continue
            if first & 0x20 and not first & 0x40:
                _, place = _integer(block, place, 5)  # a table's size
                continue
            index, place = _integer(block, place, 6 if first & 0x40 else 4)
            if index:
                name = _STATIC_NAMES.get(8 if index in _STATIC else index, b"?%d" % index)
            else:
                name, place = _string(block, place)
            found[name], place = _string(block, place)
    except IndexError:
        raise ValueError(f"no block of headers: {block[:60]!r}") from None
    return found


def _integer(block: bytes, place: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[place] & most
    place += 1
    if value < most:
        return value, place
    shift = 0
    while True:
        byte = block[place]
        value += (byte & 0x7F) << shift
        place += 1
        shift += 7
        if not byte & 0x80:
            return value, place


def _string(block: bytes, place: int) -> tuple[bytes, int]:
    size, place = _integer(block, place, 7)
    return block[place : place + size], place + size
