"""Which bodies are read at once, which beside the loop, and what of them is never built."""

import asyncio
import base64
import time
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable

import numpy as np
import orjson
import pytest
from PIL import Image

from core.errors import DeadlineExceeded, InvalidInput
from core.manifest import PictureSpec
from serving.pictures.decode_pool import DecodePool, PoolLimits
from serving.pictures.decode_times import INITIAL_RATES
from serving.pictures.picture_body import MAX_PICTURES, count_pictures, split_body
from serving.pictures.picture_reader import PictureReader
from serving.pictures.pictures import PictureLimits, Row
from tests.fakes.picture_files import SIGNATURE, chunk, write_file, write_png

SPEC = PictureSpec(height=28, width=28, channels=1)
SMALL = write_file(
    Image.fromarray(np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(28, 28))
)
LARGE = write_file(Image.new("RGB", (600, 600), (9, 9, 9)))


def encode(*files: bytes) -> bytes:
    return orjson.dumps([base64.b64encode(file).decode() for file in files])


def play(scene: Callable[[PictureReader, DecodePool], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = DecodePool(PoolLimits(2, 10.0, 176 * 2**20, 176 * 2**20))
        try:
            await asyncio.wait_for(
                scene(PictureReader(PictureLimits(16_000_000, 176 * 2**20), pool), pool), 30
            )
        finally:
            pool.close()

    asyncio.run(run())


def test_small_pictures_need_no_thread() -> None:
    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        pool.close()  # what goes there is never done
        for body, count in ((SMALL, 1), (encode(SMALL), 1), (encode(*[SMALL] * 3), 3)):
            assert (await reader.read(body, SPEC, "", None)).shape == (count, 28, 28)

    play(scene)


TALL = write_png(1, 16_000, bytes(32_000))
NOISE = np.random.default_rng(0).integers(0, 256, (99, 99), dtype=np.uint8)


@pytest.mark.parametrize(
    "body",
    [LARGE, encode(*[SMALL] * 5), encode(LARGE, SMALL), TALL * 1, SMALL + bytes(16 * 2**10),
     write_file(Image.fromarray(NOISE).convert("RGBA"))],
)  # fmt: skip
def test_everything_else_is_read_beside_the_loop(body: bytes) -> None:
    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        task = asyncio.create_task(
            reader.read(body, PictureSpec(height=224, width=224, channels=3), "", None)
        )
        await asyncio.sleep(0)
        assert sum(pool.counts()) >= 1
        await task

    play(scene)


def test_a_long_list_gives_what_its_pictures_give() -> None:
    rng = np.random.default_rng(3)
    sizes = [(int(rng.integers(1, 300)), int(rng.integers(1, 300))) for _ in range(60)]
    files = [
        write_file(Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))) for size in sizes
    ]

    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        rows = await reader.read(encode(*files), SPEC, "", None)
        alone = [await reader.read(file, SPEC, "", None) for file in files]
        assert np.array_equal(rows, np.concatenate(alone))

    play(scene)


def test_lists_of_small_pictures_make_no_large_body_seem_slow() -> None:
    tiny = write_file(Image.new("L", (1, 1)), "JPEG")
    guessed_s = INITIAL_RATES["body"] * 10**7

    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        for _ in range(8):
            await reader.read(encode(*[tiny] * 256), SPEC, "", None)
        assert pool.times.predict_s("body", 10**7) < 5 * guessed_s

    play(scene)


def test_pictures_of_a_body_are_counted_by_its_first_quotes() -> None:
    bodies = (b"", b"[", SMALL, b'""' * 9, encode(SMALL), encode(*[b"x"] * 7), b'["' * 10**6)
    assert [count_pictures(body) for body in bodies] == [1, 1, 1, 1, 1, 7, MAX_PICTURES]


def test_the_picture_that_is_wrong_is_named_wherever_it_stands() -> None:
    broken = write_png(300, 300, bytes(500))

    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        with pytest.raises(InvalidInput, match=r"pictures\[7\]: truncated or damaged"):
            await reader.read(encode(*[LARGE] * 7, broken, LARGE), SPEC, "", None)

    play(scene)


def test_many_large_pictures_with_short_deadlines_cost_next_to_nothing() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(12_001 * 100)) for _ in range(40)) + packer.flush()
    start = write_png(4000, 4000, b"", kind=2)[:33]
    file = start + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert file.startswith(SIGNATURE) and len(file) < 60_000

    async def scene(reader: PictureReader, pool: DecodePool) -> None:
        async def ask() -> Row:
            return await reader.read(file, SPEC, "", time.monotonic() + 0.1)

        began_s = time.process_time()
        answers = await asyncio.gather(*[ask() for _ in range(100)], return_exceptions=True)
        assert all(isinstance(answer, DeadlineExceeded) for answer in answers)
        while sum(pool.counts()):
            await asyncio.sleep(0)
        assert time.process_time() - began_s < 1.0

    play(scene)


@pytest.mark.parametrize("place", range(3))
def test_base64_in_a_list_may_be_escaped_and_spaced(place: int) -> None:
    file = np.random.default_rng(place).integers(0, 256, 400_000, dtype=np.uint8).tobytes()
    text = base64.b64encode(file[: len(file) - place])
    escaped = text.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d")
    body = b'\n\t [ "%s" ,\r\n"%s"] ' % (text, escaped)
    assert split_body(body) == [file[: len(file) - place]] * 2


BREAKS = (b"\n", b"\r\n", b"\\n", b"\\r\\n", b"\\u000d\\u000A")


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("place", range(3))
def test_base64_in_a_list_may_have_line_breaks_and_be_a_data_url(
    line_break: bytes, place: int
) -> None:
    file = np.random.default_rng(place).integers(0, 256, 400_000, dtype=np.uint8).tobytes()
    file = file[: len(file) - place]
    text = base64.b64encode(file)
    broken = line_break.join(text[at : at + 76] for at in range(0, len(text), 76))
    urls = (b"data:image\\/png;base64,", b"DATA:image/png;name=a;BASE64,", b"data:;base64,")
    body = b",".join(b'"%s%s%s"' % (url, broken, line_break) for url in (*urls, b""))
    assert split_body(b"[%s]" % body) == [file] * 4


def test_base64_ends_with_its_padding_wherever_pieces_end() -> None:
    text = base64.b64encode(bytes(2**18 // 4 * 3 - 1))
    assert len(text) == 2**18
    end = b"\n" * 2**19
    assert split_body(b'["%s%s"]' % (text, end)) == [bytes(2**18 // 4 * 3 - 1)]
    for more in (b"AAAA", b"="):
        with pytest.raises(InvalidInput, match="pictures"):
            split_body(b'["%s%s%s"]' % (text, end, more))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://example.org/cat.png", "scheme 'https', allowed base64 text or a data: URL"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("data:image/png,AAAA", r"pictures\[1\]: given a data: URL that is not base64"),
        ("data:image/png;base64", "not base64"),
        (f"data:{'a' * 300};base64,AAAA", "not base64"),
        ("data:image/png;base64,AA A", "not base64"),
    ],
)
def test_what_the_server_would_have_to_fetch_is_refused(text: str, words: str) -> None:
    body = orjson.dumps([base64.b64encode(SMALL).decode(), text])
    with pytest.raises(InvalidInput, match=words):
        split_body(body)


MILLIONS = 2**20
WRONG = {
    "objects": b"[" + b"{}," * MILLIONS + b"{}]",
    "numbers": b"[" + b"1," * MILLIONS + b"1]",
    "texts": b"[" + b'"AAAA",' * MILLIONS + b'"AAAA"]',
    "brackets": b"[" * MILLIONS,
    "blanks": b"[" + b" " * MILLIONS,
    "quotes": b'["' + b"A" * MILLIONS,
    "padding": b'["' + b"A" * 2**18 + b"=" * MILLIONS + b'"]',
    "padding between": b'["' + b"A" * (2**18 - 4) + b"AAA=" + b"A" * MILLIONS + b'"]',
    "backslashes": b'["' + b"\\\\" * MILLIONS + b'"]',
    "line breaks": b'["' + b"\\n" * MILLIONS + b'!"]',
    "URLs": b'["' + b"data:" * MILLIONS + b'"]',
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_large_list_of_something_else_is_never_built(body: bytes) -> None:
    tracemalloc.start()
    began_s = time.process_time()
    with pytest.raises(InvalidInput, match="pictures"):
        split_body(body)
    spent_s = time.process_time() - began_s
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent_s < 0.25 and peak_bytes < 3 * len(body) + MILLIONS


def test_a_piece_is_never_long() -> None:
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    split_body(encode(bytes(6 * MILLIONS)), pause)
    assert pauses >= 32
