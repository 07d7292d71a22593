"""Connections without sockets: an endpoint with a real engine, given packets exactly as cut."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cache.local_cache import LocalCache
from core.devices.onnx import OnnxDevice
from core.messages import Stage
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.http.answering import Answer
from serving.http.asgi import AsgiApplication
from serving.http.connection import HttpConnection
from serving.http.connections import Connections
from serving.http.endpoint import HttpEndpoint
from serving.settings import EngineSettings, ServerSettings
from tests.fakes.toys import (
    ToyPipeline,
    ToyStage,
    final,
    toy_manifest,
)

INFER = b"/v2/models/toy/infer"
HEAD = re.compile(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
DATE = re.compile(rb"date: [^\r]*\r\n")
Protocols = HttpConnection | HttpToolsProtocol


def write_body(*values: float, **parameters: object) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [len(values)], "data": values}
    return orjson.dumps({"inputs": [tensor], "parameters": parameters})


def post(
    body: bytes,
    *headers: bytes,
    url: bytes = INFER,
    method: bytes = b"POST",
    version: bytes = b"1.1",
    length: bytes | None = None,
) -> bytes:
    """A whole request; without a `length` the true one, with an empty one none at all."""
    declared = b"%d" % len(body) if length is None else length
    lines = [b"host: t", *headers]
    if declared:
        lines.append(b"content-length: " + declared)
    return b"%s %s HTTP/%s\r\n%s\r\n\r\n%s" % (method, url, version, b"\r\n".join(lines), body)


class Wire(asyncio.Transport):
    """What the server writes is kept; a close reaches the protocol a turn of the loop later."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.ended = False
        self.hears_end = True
        self.unread_bytes = 0  # that the client has not read
        self.protocol: Protocols | None = None

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        assert not self.ended
        self.written += data

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """A client that hears the end closes, and one that sends on does not."""
        self.ended = True
        if self.hears_end:
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        assert isinstance(self.protocol, HttpConnection)
        if not self.protocol.eof_received():
            self.close()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def _lose(self) -> None:
        assert self.protocol is not None
        self.protocol.connection_lost(None)


class Scene:
    """A served toy, its endpoint, and connections to it: our own, or those of an ASGI server."""

    def __init__(self, stage: Stage, server: Any, engine: Any, *, asgi: bool) -> None:
        self.metrics = Metrics()
        manifest = toy_manifest([stage.name])
        self.route = ServedRoute(
            manifest,
            ToyPipeline(stage.name, {stage.name: stage}),
            self.metrics.add_route("toy", [stage.name]),
        )
        self.catalog = Catalog([self.route])
        self.memory = LocalCache(1 << 20)
        self.engine = Engine(self.catalog, EngineSettings(**engine), self.memory, OnnxDevice())
        self.endpoint = HttpEndpoint(self.engine, ServerSettings(**server), self.metrics)
        self.state = ServerState()
        self._config = None
        if asgi:
            self._config = Config(
                AsgiApplication(self.endpoint), http=HttpToolsProtocol, ws="none", lifespan="off",
                interface="asgi3", server_header=False, date_header=False, proxy_headers=False,
                log_config=None, access_log=False,
            )  # fmt: skip
            self._config.load()

    def connect(self, answer: Answer | None = None) -> tuple[Protocols, Wire]:
        wire = Wire()
        protocol: Protocols
        if self._config is None:
            protocol = HttpConnection(self.endpoint, self.state, answer)
        else:
            protocol = HttpToolsProtocol(self._config, self.state, {})
        wire.protocol = protocol
        protocol.connection_made(wire)
        return protocol, wire

    async def talk(self, *packets: bytes, answers: int | None = None) -> list[tuple[int, bytes]]:
        """Statuses and answers to these packets, of which `answers` or the end are waited for."""
        protocol, wire = self.connect()
        for packet in packets:
            protocol.data_received(packet)
        return await read(wire, answers)

    async def teach(self, *values: float) -> None:
        """The address and the answers for these values are known from now on."""
        for value in values:
            (answer,) = await self.talk(post(write_body(value)), answers=1)
            assert answer[0] == 200, answer
        await until(lambda: not self.state.tasks)

    def requests(self) -> dict[str, int]:
        """Requests by result, of this route and of none together."""
        counts: dict[str, int] = {}
        for (_, result), count in self.metrics._requests.items():
            counts[result] = counts.get(result, 0) + count
        return {result: count for result, count in counts.items() if count}

    def rows(self) -> Mapping[str, int]:
        rows = self.metrics._routes["toy"].exits["a"].rows
        return {stopped_by: count for stopped_by, count in rows.items() if count}


def connect(scene: Scene, packet: bytes = b"") -> tuple[HttpConnection, Wire]:
    protocol, wire = scene.connect()
    assert isinstance(protocol, HttpConnection)
    if packet:
        protocol.data_received(packet)
    return protocol, wire


def find_connections(scene: Scene) -> Connections:
    return scene.endpoint.connections


async def read(wire: Wire, answers: int | None) -> list[tuple[int, bytes]]:
    await until(lambda: heard(wire, answers))
    return split(wire.written)


def heard(wire: Wire, answers: int | None) -> bool:
    return wire.closing or (answers is not None and count(wire.written) >= answers)


def count(written: bytes) -> int:
    return len(HEAD.findall(written))


def split(written: bytes) -> list[tuple[int, bytes]]:
    """The answers, each with its status; what differs between two runs of it is taken out."""
    found: list[tuple[int, bytes]] = []
    written = DATE.sub(b"", written)
    while match := HEAD.match(written):
        length = re.search(rb"^content-length: (\d+)", match[2], re.MULTILINE)
        assert length is not None
        end = match.end() + int(length[1])
        found.append((int(match[1]), written[:end]))
        written = written[end:]
    assert not written, written
    return found


def label(answer: tuple[int, bytes]) -> float:
    """The output `y` of an answer with one row."""
    assert answer[0] == 200, answer
    return float(orjson.loads(answer[1].partition(b"\r\n\r\n")[2])["outputs"][0]["data"][0])


def play(
    script: Callable[[Scene], Awaitable[None]],
    *,
    asgi: bool = False,
    stage: Stage | None = None,
    engine: Mapping[str, object] | None = None,
    **server: object,
) -> None:
    """Run a script on a fresh scene; afterwards nothing is under way and no byte is held."""

    async def run() -> None:
        toy = stage or ToyStage("a", lambda value: final(value, "a"))
        scene = Scene(toy, server, engine or {}, asgi=asgi)
        try:
            await asyncio.wait_for(script(scene), 20.0)
            await until(lambda: not scene.state.tasks)
            assert await scene.engine.drain(5.0)
            assert scene.endpoint._bodies.in_flight_bytes == 0
        finally:
            scene.engine.close()

    asyncio.run(run())
