"""The stock `openai` client chats about a picture: whole, streamed, and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_vlm import ROUTE, VISUAL_TOKENS
from tests.serving.chatting import ChatServer, expect, serve_chats, show

openai = pytest.importorskip(
    "openai", reason="the client openai is missing: make setup installs it"
)


def test_it_chats_about_a_picture(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            assert [one.id async for one in client.models.list()] == [ROUTE]
            asked: dict[str, Any] = {"model": ROUTE, "messages": [show(1)]}
            whole = await client.chat.completions.create(**asked)
            assert whole.choices[0].message.content == expect(1)
            assert whole.usage.model_extra["visual_tokens"] == VISUAL_TOKENS
            small = await client.chat.completions.create(
                **asked, extra_body={"visual_tokens": 5}, temperature=0, max_tokens=6, seed=3
            )
            assert small.choices[0].message.content == expect(1, 5.0)
            stream = await client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(
                choice.delta.content or "" for chunk in chunks for choice in chunk.choices
            )
            assert text == expect(1)
            assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
            messages = [{"role": "user", "content": "zebra"}]
            with pytest.raises(openai.BadRequestError, match="zebra"):
                await client.chat.completions.create(model=ROUTE, messages=messages)
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="other", messages=[show(1)])

    serve_chats(tmp_path, use)
