"""Bad pictures over HTTP: refused by what they declare or when they break off, and no harm done."""

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.clients.bad_input import MIB, PICTURE, PREDICT, Victim, make_png, post
from tests.fakes.picture_files import chunk, write_png


def write(form: str) -> bytes:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


def pack_zeros(size_bytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size_bytes // MIB)) + packer.flush()


PNG, JPEG = write("PNG"), write("JPEG")
DAMAGED: Mapping[str, bytes] = {
    "a PNG without its end": PNG[: len(PNG) // 2],
    "a PNG without its pixels": PNG[:60],
    "a PNG of its signature alone": PNG[:8],
    "a JPEG without its end": JPEG[: len(JPEG) // 2],
    "a JPEG of its first bytes alone": JPEG[:20],
    "a PNG with a flipped bit in its pixels": PNG[:100] + bytes([PNG[100] ^ 1]) + PNG[101:],
    "a PNG whose pixels are no zlib": make_png(28, 28, b"no zlib at all"),
    "a PNG whose pixels break off": make_png(28, 28, zlib.compress(bytes(29 * 28))[:-6]),
    "a PNG with a short header": make_png(28, 28, header=b"\0\0\0\1"),
    "a PNG of 3 bits": make_png(28, 28, header=struct.pack(">IIBBBBB", 28, 28, 3, 0, 0, 0, 0)),
    "a PNG without width": make_png(0, 28, zlib.compress(bytes(28))),
    "a PNG without height": make_png(28, 0, zlib.compress(b"")),
    "a GIF": write("GIF"),
    "a TIFF": write("TIFF"),
    "nothing": b"",
    "blanks": b"   ",
    "zeros": bytes(1000),
    "text": b"a picture of a shirt",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
}
BOMBS: Mapping[str, bytes] = {
    "10^9 declared": make_png(31_623, 31_623),
    "10^9 in one line": make_png(10**9, 1),
    "2^31 by 2^31": make_png(2**31 - 1, 2**31 - 1),
    "2^32 by 2^32": make_png(2**32 - 1, 2**32 - 1),
    "10^8 real ones, 1000 in a byte": make_png(10_000, 10_000, pack_zeros(10_001 * 10_000)),
    "one over the limit": make_png(16_000_001, 1),
}
LISTS: Mapping[str, tuple[object, str]] = {
    "an empty list": ([], "pictures: given 0"),
    "257 pictures": ([""] * 257, "pictures: given 257"),
    "a number": ([7], "pictures[0]"),
    "a list in the list": ([[base64.b64encode(PNG).decode()]], "pictures[0]"),
    "lists nested deep": (json.loads("[" * 900 + "]" * 900), "pictures[0]"),
    "no base64": (["Ünicode"], "pictures[0]"),
    "base64 cut off": ([base64.b64encode(PNG).decode()[:-3]], "pictures[0]"),
    "base64 of no picture": (["AAAA"], "pictures[0]"),
    "a good and a bad one": ([base64.b64encode(PNG).decode(), "AAAA"], "pictures[1]"),
}
QUERIES = [
    "timeout_ms=-1",
    "timeout_ms=NaN",
    "timeout_ms=1e999",
    "timeout_ms=abc",
    "timeout_ms=%FF",
    "timeout_ms=",
    "min_confidence=2",
    "energy_mj=-0.5",
    "no_cache=maybe",
]


@pytest.mark.parametrize("file", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_picture_is_refused(victim: Victim, file: bytes) -> None:
    victim.check_refused(post(PREDICT, file), 400, "pictures[0]")


@pytest.mark.parametrize("file", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_before_a_pixel_is_unpacked(victim: Victim, file: bytes) -> None:
    with victim.bounded(16 * MIB):
        victim.check_refused(post(PREDICT, file), 413, "pictures", "pixels")


def test_small_bombs_are_counted_together(victim: Victim) -> None:
    file = base64.b64encode(make_png(1000, 1000, zlib.compress(bytes(1001 * 1000)))).decode()
    body = json.dumps([file] * 17).encode()
    with victim.bounded(16 * MIB):
        victim.check_refused(post(PREDICT, body), 413, "17000000 pixels in 17 pictures")


def test_packed_text_is_not_unpacked_and_leaves_no_mark(victim: Victim) -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (MIB - 1), 9)) * 63
    file = base64.b64encode(write_png(28, 28, bytes(29 * 28), before=text)).decode()
    body = json.dumps([file] * 24).encode()
    log_bytes = victim.server.log.stat().st_size
    with victim.bounded(40 * MIB):
        reply = victim.send(post(PREDICT, body))
    assert reply.status == 200, reply.body
    assert victim.server.log.stat().st_size == log_bytes
    victim.check_unharmed()


@pytest.mark.parametrize(("given", "words"), LISTS.values(), ids=LISTS.keys())
def test_a_bad_list_of_pictures_is_refused(victim: Victim, given: object, words: str) -> None:
    victim.check_refused(post(PREDICT, json.dumps(given).encode()), 400, words)


@pytest.mark.parametrize("body", [b"[", b"[1,", b"[" * 100_000 + b"]" * 100_000, b'["\xff"]'])
def test_a_list_that_is_no_json_is_refused(victim: Victim, body: bytes) -> None:
    victim.check_refused(post(PREDICT, body), 400, "body: not JSON")


@pytest.mark.parametrize("query", QUERIES)
def test_a_hostile_query_is_refused_by_name(victim: Victim, query: str) -> None:
    name = query.partition("=")[0]
    victim.check_refused(post(f"{PREDICT}?{query}", PNG), 400, f"parameters.{name}: given")


def test_a_route_without_pictures_says_where_to_go(victim: Victim) -> None:
    victim.check_refused(post("/v1/routes/text/predict", PNG), 400, "/v2/models/text/infer")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_good_picture_is_answered(victim: Victim, form: str) -> None:
    buffer = BytesIO()
    Image.fromarray(PICTURE[0]).save(buffer, form)
    assert victim.send(post(PREDICT, buffer.getvalue())).status == 200
