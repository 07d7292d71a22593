"""A listening socket: connections are accepted, answered at the end, and not waited for forever."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harness.waiting import until
from serving.configuration.certificates import ServerTls
from serving.process.http_server import HttpServer
from tests.fakes.toys import ToyStage, final
from tests.servers.certificates import Pair, make_certificate
from tests.serving.http.conversations import KNOWN, NEW
from tests.serving.http.wire import Scene, count, play, post, write_body

PREDICT = post(b"x", url=b"/v1/routes/toy/predict", length=b"5")
Script = Callable[[Scene, HttpServer, int], Awaitable[None]]


def serve(script: Script, stage: ToyStage | None = None) -> None:
    async def run(scene: Scene) -> None:
        server = HttpServer(scene.endpoint)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.open(listener)
        await script(scene, server, listener.getsockname()[1])
        assert not server.connections
        assert not server.tasks

    play(run, stage=stage)


class Client:
    """A client of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """Send a request, and return the beginning of its answer."""
        self._writer.write(request)
        written = b""
        while not count(written):
            written += await self._reader.read(65536)
        return written

    async def end_after(self, request: bytes) -> bytes:
        """What comes for a request until the server closes."""
        self._writer.write(request)
        return await self.end()

    async def end(self) -> bytes:
        """What comes until the server closes."""
        rest = await self._reader.read()
        self._writer.close()
        return rest


async def connect(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


def test_everything_accepted_is_answered_and_idle_connections_are_closed() -> None:
    gate = threading.Event()

    async def script(scene: Scene, server: HttpServer, port: int) -> None:
        gate.set()
        idle, busy = await connect(port), await connect(port)
        assert (await idle.ask(KNOWN)).startswith(b"HTTP/1.1 200 OK")
        gate.clear()
        asking = asyncio.create_task(busy.ask(NEW))
        await until(lambda: scene.engine._calls == 1)
        closing = asyncio.create_task(server.close(60.0))
        assert await idle.end() == b""
        assert not closing.done()
        gate.set()
        assert (await asking).startswith(b"HTTP/1.1 200 OK")
        assert await busy.end() == b""
        await closing

    serve(script, ToyStage("a", lambda value: final(value, "a"), gate=gate))


def test_what_is_not_answered_in_time_is_told_so() -> None:
    async def script(scene: Scene, server: HttpServer, port: int) -> None:
        client = await connect(port)
        asking = asyncio.create_task(client.ask(PREDICT))
        await until(lambda: bool(server.tasks))
        scene.engine.draining = True
        await server.close(0.0)
        written = await asking
        assert written.startswith(b"HTTP/1.1 503 ")
        assert b"server: it shuts down" in written + await client.end()
        await until(lambda: not server.connections)

    serve(script)


def test_it_accepts_no_more_once_it_closes() -> None:
    async def script(scene: Scene, server: HttpServer, port: int) -> None:
        client = await connect(port)
        await client.ask(post(write_body(1.0)))
        await server.close(60.0)
        await client.end()
        try:
            late = await connect(port)
        except ConnectionRefusedError:
            return
        await late.end()
        raise AssertionError("it still accepts connections")

    serve(script)


def test_a_changed_certificate_is_used_by_new_connections_and_breaks_no_open_one(
    tmp_path: Path,
) -> None:
    first, second = [make_certificate(tmp_path, name) for name in ("first", "second")]

    async def run(scene: Scene) -> None:
        tls = ServerTls(first.read())
        server, listener = HttpServer(scene.endpoint), socket.create_server(("127.0.0.1", 0))
        await server.open(listener, tls.context)
        port = listener.getsockname()[1]

        async def connect_with_tls(trusted: Pair, **limits: ssl.TLSVersion) -> Client:
            context = ssl.create_default_context(cafile=trusted.chain)
            for name, version in limits.items():
                setattr(context, name, version)
            return Client(*await asyncio.open_connection("127.0.0.1", port, ssl=context))

        old = await connect_with_tls(first, maximum_version=ssl.TLSVersion.TLSv1_2)
        assert b" 200 " in await old.ask(NEW)
        tls.use(second.read())
        new = await connect_with_tls(second)
        for client in (new, old, new, old):
            assert b" 200 " in await client.ask(NEW)
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect_with_tls(first)
        plain = await connect(port)
        assert b"HTTP" not in await plain.end_after(NEW)
        closing = asyncio.create_task(server.close(20.0))
        assert await old.end() == await new.end() == b""
        await closing
        assert not server.connections

    play(run)
