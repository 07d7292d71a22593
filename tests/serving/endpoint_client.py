"""Visits to a fresh HTTP endpoint with a small engine behind it, for the endpoint's tests."""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import httpx
import orjson
from PIL import Image

from monitoring.metrics.collector import Metrics
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.settings import ServerSettings
from tests.serving.small_engine import SmallEngine

INFER = "/v2/models/small/infer"
BRIGHT = orjson.dumps(
    {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "data": [204] * 6}]}
)


def make_png(shade: int = 204, size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = BytesIO()
    Image.new("L", size, shade).save(buffer, "PNG")
    return buffer.getvalue()


Script = Callable[[httpx.AsyncClient, SmallEngine], Awaitable[None]]


def visit(script: Script, engine: Callable[[], SmallEngine] = SmallEngine, **limits: Any) -> None:
    """Run a script against an endpoint with a small engine."""

    async def run() -> None:
        small = engine()
        endpoint = HttpEndpoint(small, ServerSettings(**limits), Metrics())
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            await script(client, small)

    asyncio.run(run())


def ask(method: str, path: str, **options: Any) -> httpx.Response:
    """One request to a fresh endpoint. `limits`, `draining` and `failure` set the scene."""
    answers: list[httpx.Response] = []
    limits = options.pop("limits", {})
    draining, failure = options.pop("draining", False), options.pop("failure", None)

    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        engine.draining, engine.failure = draining, failure
        answers.append(await client.request(method, path, **options))

    visit(script, **limits)
    return answers[0]
