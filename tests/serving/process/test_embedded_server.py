"""Our server as a guest: in a bare host, and in uvicorn, whose connections become ours."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx
import pytest
import uvicorn

from harness.tiny_routes import write_route
from harness.waiting import until
from serving.assembly import StartupError
from serving.http.asgi import Scope, Send
from serving.http.body import Receive
from serving.http.connection import HttpConnection
from serving.process.embedded_server import EmbeddedServer, EmbeddingApp, check_routes
from serving.settings import RouteSettings, ServerSettings, Settings
from tests.clients.load import BODIES
from tests.clients.raw_http import RawClient

INFER = "/v2/models/tiny/infer"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a server of one tiny route, gRPC on a free port."""
    write_route(tmp_path / "models")
    return Settings(
        server=ServerSettings(grpc_port=0, drain_s=0.0),
        routes=RouteSettings(directories=(tmp_path / "models",)),
    )


def until_a_second_signal(settings: Settings) -> Settings:
    """The host hears nothing of a first signal while the test runs."""
    server = settings.server.model_copy(update={"drain_s": 600.0, "drain_timeout_s": 1.0})
    return settings.model_copy(update={"server": server})


class Host:
    """An application of somebody else: says its name on every page, and is told of start and end.

    With a guest, that is opened and closed as BentoML does it.
    """

    def __init__(self, embedded: EmbeddedServer) -> None:
        self._embedded = embedded
        self.heard: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            length = [(b"content-length", b"8")]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": b"the host"})
            return
        for step, act in (("startup", self._embedded.open), ("shutdown", self._embedded.close)):
            self.heard.append((await receive())["type"])
            await act()
            await send({"type": f"lifespan.{step}.complete"})


def visit(
    settings: Settings, script: Callable[[EmbeddedServer, httpx.AsyncClient], Awaitable[None]]
) -> None:
    """Call the script with a guest that is not open yet, and a client of its entrance."""

    async def main() -> None:
        embedded = EmbeddedServer(lambda: settings)
        transport = httpx.ASGITransport(EmbeddingApp(Host(embedded), embedded))
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            await script(embedded, client)

    asyncio.run(main())


@contextmanager
def handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """A host's own handler of SIGTERM."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_our_paths_lead_to_our_door_and_the_others_to_the_host(settings: Settings) -> None:
    async def script(embedded: EmbeddedServer, client: httpx.AsyncClient) -> None:
        assert (await client.get("/readyz")).text == "the host"  # not open yet
        await embedded.open()
        assert (await client.get("/readyz")).json() == {"ready": True}
        assert (await client.post(INFER, content=BODIES[0])).json()["model_name"] == "tiny"
        assert (await client.get("/v1/nothing")).status_code == 404
        for path in ("/", "/healthz", "/v3/models", "/v2x", "/metrics/more"):
            assert (await client.get(path)).text == "the host"
        await embedded.close()

    visit(settings, script)


def test_a_signal_reaches_the_guest_first_and_a_second_one_the_host_at_once(
    settings: Settings,
) -> None:
    heard: list[int] = []

    async def script(embedded: EmbeddedServer, client: httpx.AsyncClient) -> None:
        await embedded.open()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: embedded.endpoint is not None and embedded.endpoint.draining)
        assert heard == []
        assert (await client.get("/readyz")).status_code == 503
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(heard) == 1)
        await embedded.close()

    with handling(lambda number, _frame: heard.append(number)):
        visit(until_a_second_signal(settings), script)
    assert heard == [signal.SIGTERM]


def test_the_host_hears_of_the_signal_when_the_guest_has_said_goodbye(settings: Settings) -> None:
    heard: list[int] = []

    async def script(embedded: EmbeddedServer, _client: httpx.AsyncClient) -> None:
        await embedded.open()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: heard == [signal.SIGTERM])
        assert embedded.endpoint is not None
        assert embedded.endpoint.draining
        await embedded.close()

    with handling(lambda number, _frame: heard.append(number)):
        visit(settings, script)


def test_what_cannot_be_served_is_one_line_from_both_open_and_check(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_routes(lambda: settings)
    nowhere = settings.model_copy(
        update={"routes": RouteSettings(directories=(tmp_path / "nowhere",))}
    )

    def wrong() -> Settings:
        raise ValueError("SPARING_GRPC_PORT: no port")

    async def script(_embedded: EmbeddedServer, _client: httpx.AsyncClient) -> None:
        for read, sentence in ((lambda: nowhere, "nowhere: no such directory"), (wrong, "no port")):
            unopened = EmbeddedServer(read)
            with pytest.raises(StartupError, match=sentence):
                await unopened.open()
            assert unopened.endpoint is None
            await unopened.close()

    visit(nowhere, script)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.count("\n") for line in told] == [0, 0]
    for read in (lambda: nowhere, wrong):
        with pytest.raises(StartupError):
            check_routes(read)


def test_in_uvicorn_connections_are_ours_and_everything_accepted_is_answered(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        embedded = EmbeddedServer(lambda: until_a_second_signal(settings))
        host = Host(embedded)
        config = uvicorn.Config(
            EmbeddingApp(host, embedded), port=0, http="httptools", lifespan="on", log_config=None
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with RawClient(port) as client:
            for body in BODIES[:3]:
                assert (await client.post(INFER, body)).status == 200
            assert (await client.post("/docs", b"")).body == b"the host"
            assert server.server_state.connections
            assert all(type(one) is HttpConnection for one in server.server_state.connections)
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: embedded.endpoint is not None and embedded.endpoint.draining)
            last = await client.post(INFER, BODIES[3])
            assert (last.status, last.headers["connection"]) == (200, "close")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        assert host.heard == ["lifespan.startup", "lifespan.shutdown"]

    with handling(lambda _number, _frame: None):  # uvicorn raises the signal again when it is done
        asyncio.run(main())
    assert "host's stack" not in caplog.text


def test_a_host_that_is_not_as_expected_keeps_its_connections_and_is_told_the_price(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    steps = asyncio.Queue[Scope]()
    sent: list[str] = []

    async def send(message: Scope) -> None:
        sent.append(message["type"])

    async def main() -> None:
        embedded = EmbeddedServer(lambda: settings)
        for step in ("startup", "shutdown"):
            steps.put_nowait({"type": f"lifespan.{step}"})
        await EmbeddingApp(Host(embedded), embedded)(
            {"type": "lifespan", "state": {}}, steps.get, send
        )

    asyncio.run(main())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert "host's stack" in caplog.text
