"""Decodes the text of one picture in a JSON list: base64, or a `data:` URL that holds base64.

Line breaks within base64 are skipped (RFC 2045), as they come from `base64` on the command line and
from mail encoders; other blanks are not. The server fetches nothing: every other URL is refused.
Texts are decoded piece by piece, so that other threads can run between.
"""

import base64
import binascii
import re

from core.errors import InvalidInput
from serving.pictures.pictures import Pause

_ESCAPES = [
    (b"\\n", b""), (b"\\r", b""), (b"\\u000a", b""), (b"\\u000A", b""), (b"\\u000d", b""),
    (b"\\u000D", b""), (b"\\/", b"/"), (b"\\u002f", b"/"), (b"\\u002F", b"/"), (b"\\u002b", b"+"),
    (b"\\u002B", b"+"), (b"\\u003d", b"="), (b"\\u003D", b"="),
]  # fmt: skip
_LONGEST_ESCAPE_BYTES = 6
_PIECE_BYTES = 2**18  # of text, decoded at once
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]{0,31}):")  # base64 has no colon
_MAX_HEADER_BYTES = 256  # of a data: URL, up to its comma


class MalformedText(Exception):
    """The text is not base64."""


def decode_text(text: memoryview, place: int, pause: Pause | None) -> bytes:
    """Return the file that a text of a JSON list holds; `text` is without its quotes, and may have
    JSON escapes. `place` is its index in the list.

    Raises MalformedText if it is not base64, InvalidInput if it is a URL that is not accepted.
    """
    text = text[_find_start(text, place) :]
    files: list[bytes] = []
    rest, ended = b"", False
    for at in range(0, len(text), _PIECE_BYTES):
        if pause is not None:
            pause()
        is_last = at + _PIECE_BYTES >= len(text)
        piece, rest = _clean(rest + text[at : at + _PIECE_BYTES], is_last)
        if ended and piece:
            raise MalformedText  # padding in the middle
        try:
            file = base64.b64decode(piece, validate=True)
        except (binascii.Error, ValueError):
            raise MalformedText from None
        ended = ended or len(file) < len(piece) // 4 * 3
        files.append(file)
    return b"".join(files)


def _find_start(text: memoryview, place: int) -> int:
    """Return where the base64 begins: after the header of a data: URL, else 0."""
    head = bytes(text[:_MAX_HEADER_BYTES])
    found = _SCHEME.match(head)
    if found is None:
        return 0
    scheme = found[1].decode().lower()
    if scheme != "data":
        raise InvalidInput(
            f"pictures[{place}]: given a URL with the scheme {scheme!r}, allowed base64 text or a "
            "data: URL; the server fetches nothing"
        )
    header, comma, _ = head.partition(b",")
    if not comma or not header.lower().endswith(b";base64"):
        raise InvalidInput(
            f"pictures[{place}]: given a data: URL that is not base64, allowed "
            "data:image/png;base64,… and the like"
        )
    return len(header) + 1


def _clean(piece: bytes, is_last: bool) -> tuple[bytes, bytes]:
    """Return the base64 of a piece without escapes and line breaks, and what waits for the next
    piece: an escape that may be incomplete, and a group of fewer than four characters.
    """
    cut = b""
    if b"\\" in piece:
        if not is_last:
            end = piece.rfind(b"\\", len(piece) - _LONGEST_ESCAPE_BYTES + 1)
            if end >= 0:
                piece, cut = piece[:end], piece[end:]
        for escape, character in _ESCAPES:
            piece = piece.replace(escape, character)
    if b"\n" in piece or b"\r" in piece:
        piece = piece.translate(None, b"\r\n")
    if is_last:
        return piece, b""
    whole = len(piece) // 4 * 4
    return piece[:whole], piece[whole:] + cut
