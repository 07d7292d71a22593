"""A server with the tiny vision-language model, and requests of chats to it."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import torch
from PIL import Image

from serving.assembly import Assembly, assemble
from serving.process.http_server import HttpServer
from serving.scheduling.rows.states import StateMemory
from serving.settings import Settings
from tests.fakes.tiny_vlm import (
    DROPS,
    LAYERS,
    ROUTE,
    VISUAL_TOKENS,
    VOCABULARY,
    make_blocks,
    make_model,
    make_questions,
    write_vlm,
)
from tokens.pyramid_drop.schedule import for_average
from tokens.vision_language.asking import answer
from tokens.vision_language.model import Dropping

CHAT = "/v1/chat/completions"
COUNT = 8
PICTURES, QUESTIONS = make_blocks(COUNT), make_questions(COUNT)
DEVICE = "torch"  # the server's own, for routes that need it

Message = dict[str, Any]


@dataclass
class ChatServer:
    """An open server and a client of it."""

    assembly: Assembly
    client: httpx.AsyncClient
    url: str

    @property
    def memory(self) -> StateMemory:
        return dict(self.assembly.engine.schedulers)[DEVICE].states

    async def ask(self, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post(CHAT, json=make_body(**fields))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def stream(self, **fields: Any) -> list[dict[str, Any]]:
        """The events of a stream but its mark of the end."""
        body = make_body(stream=True, **fields)
        lines = []
        async with self.client.stream("POST", CHAT, json=body) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    assert line.startswith("data: ")
                    lines.append(line.removeprefix("data: "))
        assert lines[-1] == "[DONE]"
        return [orjson.loads(line) for line in lines[:-1]]


Use = Callable[[ChatServer], Awaitable[None]]


def serve_chats(root: Path, use: Use, **tables: Any) -> None:
    """Use a server, whose rows must leave no byte of state behind. `tables`: of its settings."""

    async def main() -> None:
        async with open_chats(root, **tables) as server:
            await asyncio.wait_for(use(server), 60.0)

    asyncio.run(main())


@asynccontextmanager
async def open_chats(
    root: Path, *, has_torch: bool = True, tiny: bool = True, **tables: Any
) -> AsyncIterator[ChatServer]:
    """With the tiny route, or with `tiny=False` only those that the folder has already."""
    if tiny:
        write_vlm(root)
    settings = Settings.model_validate(
        {
            "server": {"http_port": 0, "grpc_port": 0},
            "routes": {"directories": [root]},
            "energy": {"source": "none"},
            "cache": {"enabled": False},
            **tables,
        }
    )
    async with assemble(settings) as assembly:
        http = HttpServer(assembly.web)
        listener = socket.create_server(("127.0.0.1", 0))
        await http.open(listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url) as client:
            server = ChatServer(assembly, client, url)
            try:
                yield server
            finally:
                await client.aclose()
                await http.close(5.0)
                assert await assembly.end_drain()
        if has_torch:
            memory = server.memory
            assert (memory.used_bytes, memory.reserved_bytes) == (0, 0)


@cache
def expect(row: int, average: float = VISUAL_TOKENS, max_tokens: int = 6) -> str:
    """What the model alone answers."""
    how = Dropping()
    if average < VISUAL_TOKENS:
        how = Dropping(for_average(DROPS, LAYERS, VISUAL_TOKENS, average))
    shown = torch.from_numpy(PICTURES[row : row + 1])
    return answer(_make_model(), VOCABULARY, [QUESTIONS[row]], shown, how, max_tokens)[0]


_make_model = cache(make_model)


def make_body(
    row: int = 0, *, messages: Sequence[Message] | None = None, **fields: Any
) -> dict[str, Any]:
    return {"model": ROUTE, "messages": messages or [show(row)], **fields}


def show(row: int) -> Message:
    """A question about its picture."""
    parts = [{"type": "text", "text": QUESTIONS[row]}, make_part(PICTURES[row])]
    return {"role": "user", "content": parts}


def make_part(picture: np.ndarray) -> Message:
    return {"type": "image_url", "image_url": {"url": make_url(picture)}}


def make_url(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(make_png(picture)).decode()


def make_png(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def text_of(completion: Mapping[str, Any]) -> str:
    text: str = completion["choices"][0]["message"]["content"]
    return text


def join(events: Sequence[Mapping[str, Any]]) -> str:
    """The text of a stream."""
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)
