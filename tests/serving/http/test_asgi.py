"""Over ASGI, calls end with their answer, or with their client."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from serving.http.asgi import AsgiClient
from serving.http.body import ClientGone
from tests.serving.endpoint_client import visit
from tests.serving.small_engine import SmallEngine


class Connection:
    """ASGI's receive of a client that has sent everything; `leave` closes it."""

    def __init__(self) -> None:
        self.watched = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self) -> Mapping[str, Any]:
        self.watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_a_client_that_leaves_cancels_its_call_and_no_other() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        leaver, stayer = Connection(), Connection()
        cancelled: list[str] = []

        async def work(name: str) -> str:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise
            return name

        leaving = asyncio.create_task(AsgiClient(leaver).attend(work("leaver")))
        staying = asyncio.create_task(AsgiClient(stayer).attend(work("stayer")))
        await leaver.watched.wait()
        await stayer.watched.wait()
        leaver.left.set()
        with pytest.raises(ClientGone):
            await leaving
        assert cancelled == ["leaver"]
        gate.set()
        assert await staying == "stayer"
        assert asyncio.all_tasks() - {asyncio.current_task()} <= {
            task for task in asyncio.all_tasks() if task.cancelling()
        }

    asyncio.run(run())


def test_the_id_of_a_request_is_returned() -> None:
    async def script(client: httpx.AsyncClient, _: SmallEngine) -> None:
        for path in ("/v2", "/nothing"):
            reply = await client.get(path, headers={"X-Request-Id": "a-1"})
            assert reply.headers["x-request-id"] == "a-1"
            reply = await client.get(path, headers={"X-Request-Id": "x" * 129})
            assert "x-request-id" not in reply.headers

    visit(script)


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def run() -> None:
        connection = Connection()
        task = asyncio.create_task(AsgiClient(connection).attend(asyncio.Event().wait()))
        await connection.watched.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
