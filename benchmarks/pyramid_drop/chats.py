"""A closed load of streamed chats: connections that each ask one question after the other.

Requests have the prompt and answer lengths of a trace, scaled to what the model can read: see
`scale`. The time to the first token is the client's; a chat that ends with another number
of tokens than wanted is an error.
"""

import asyncio
import base64
import csv
import io
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

PATH = "/v1/chat/completions"
DONE, ERROR = b"data: [DONE]", b'data: {"error"'
FIRST = b'"delta":{"content":'  # a token's event, unlike that of the role
COUNT = re.compile(rb'"completion_tokens":(\d+)')
PROMPT_SCALE, ANSWER_SCALE = 128, 4
MOST_TEXT, MOST_ANSWER = 64, 60


@dataclass(frozen=True, slots=True)
class Chat:
    """A request's lengths, in tokens."""

    text: int  # beside the picture
    answer: int


@dataclass(slots=True)
class Load:
    """What ended within the window."""

    first_s: list[float] = field(default_factory=list)  # to the first token
    decode_s: list[float] = field(default_factory=list)  # from it to the last one
    total_s: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: int = 0

    def summarise(self, seconds: float) -> dict[str, float]:
        done = len(self.total_s)
        nothing = [float("nan")]
        first_50, first_99 = np.percentile(self.first_s or nothing, (50, 99))
        return {
            "requests_s": done / seconds,
            "tokens_s": self.tokens / seconds,
            "first_p50_ms": 1e3 * float(first_50),
            "first_p99_ms": 1e3 * float(first_99),
            "decode_p50_ms": 1e3 * float(np.median(self.decode_s or nothing)),
            "p50_ms": 1e3 * float(np.median(self.total_s or nothing)),
            "errors": self.errors,
        }


def read_trace(path: Path, count: int) -> list[Chat]:
    """The first requests of an Azure LLM inference trace, scaled."""
    with path.open(newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    return [scale(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows]


def scale(prompt: int, answer: int) -> Chat:
    """One text token beside the picture for 128 of the trace's prompt, at most 64; one answer
    token for four, at most 60."""
    return Chat(
        text=min(MOST_TEXT, max(4, round(prompt / PROMPT_SCALE))),
        answer=min(MOST_ANSWER, max(1, round(answer / ANSWER_SCALE))),
    )


def make_bodies(
    chats: Sequence[Chat],
    pictures: npt.NDArray[np.uint8],  # [N, S, S, 3], taken in turns
    words: Sequence[str],
    route: str,
    more: dict[str, Any],
    seed: int = 0,
) -> list[bytes]:
    """Request bodies with random words; the prompt's own two tokens count as text."""
    rng = np.random.default_rng(seed)
    shown = [encode_picture(picture) for picture in pictures]
    bodies = []
    for number, chat in enumerate(chats):
        text = " ".join(rng.choice(words, chat.text - 2))
        content = [
            {"type": "image_url", "image_url": {"url": shown[number % len(shown)]}},
            {"type": "text", "text": text},
        ]
        body = {
            "model": route,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": chat.answer,
            "stream": True,
            "stream_options": {"include_usage": True},
            **more,
        }
        bodies.append(json.dumps(body).encode())
    return bodies


def encode_picture(picture: npt.NDArray[np.uint8]) -> str:
    """A data URL."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


async def run_load(
    port: int,
    bodies: Sequence[bytes],
    wanted: Sequence[int],  # tokens of each answer
    connections: int,
    seconds: float,
    warm_up_s: float,
) -> dict[str, float]:
    """Measure the middle of the load; every connection works through the bodies in turns."""
    load, window = Load(), _Window()
    workers = [
        asyncio.ensure_future(_ask_on(port, bodies, wanted, load, window))
        for _ in range(connections)
    ]
    await asyncio.sleep(warm_up_s)
    window.is_open = True
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    window.is_open, passed_s = False, time.perf_counter() - started
    window.stopping = True
    try:
        ends = await asyncio.wait_for(asyncio.gather(*workers, return_exceptions=True), 60)
    except TimeoutError:
        raise RuntimeError("chats did not end within 60 s after the load") from None
    load.errors += sum(isinstance(end, BaseException) for end in ends)
    return load.summarise(passed_s)


@dataclass(slots=True)
class _Window:
    is_open: bool = False
    stopping: bool = False
    next: int = 0


async def _ask_on(
    port: int, bodies: Sequence[bytes], wanted: Sequence[int], load: Load, window: _Window
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while not window.stopping:
            number = window.next % len(bodies)
            window.next += 1
            await _ask(reader, writer, bodies[number], wanted[number], load, window)
    finally:
        writer.close()


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    body: bytes,
    wanted: int,
    load: Load,
    window: _Window,
) -> None:
    """One chat. Raises ConnectionError for an answer that is not a stream."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
    sent = time.perf_counter()
    writer.write(head.encode() + body)
    status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
    if status != b"200":
        load.errors += 1
        raise ConnectionError(f"a chat was answered {status.decode()}")
    first, tokens = 0.0, 0
    while not (line := await reader.readline()).startswith(DONE):
        if not line or line.startswith(ERROR):
            raise ConnectionError(f"a stream broke off: {line.decode().strip()}")
        if not first and FIRST in line:
            first = time.perf_counter()
        if (found := COUNT.search(line)) is not None:
            tokens = int(found[1])
    last = time.perf_counter()
    await reader.readuntil(b"0\r\n\r\n")  # the last chunk
    if tokens != wanted:
        load.errors += 1
    if window.is_open:
        load.first_s.append(first - sent)
        load.decode_s.append(last - first)
        load.total_s.append(last - sent)
        load.tokens += tokens
