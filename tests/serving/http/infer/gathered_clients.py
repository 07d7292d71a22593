"""Clients whose next requests of one row can be gathered."""

import threading
from collections.abc import Callable
from functools import partial

from core.messages import Request
from harness.waiting import until
from serving.engine.admission import Admitted
from serving.engine.group_calls import GroupCall
from serving.http.connection import HttpConnection
from tests.fakes.toys import ToyStage
from tests.serving.http.infer.binary_rows import write
from tests.serving.http.wire import Scene, Wire, connect, count, heard, split


class Clients:
    """Connections that have asked once, so that what they ask next can be gathered."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.groups: list[GroupCall] = []  # that were begun since `open`
        self._lines: list[tuple[HttpConnection, Wire]] = []

    @classmethod
    async def open(cls, scene: Scene, clients: int, *headers: bytes) -> "Clients":
        opened = cls(scene)
        packet = write(1000.0, ("y",), *headers)
        for _ in range(clients):
            protocol, wire = connect(scene, packet)
            await until(partial(heard, wire, 1))
            protocol.data_received(packet)
            await until(partial(heard, wire, 2))
            wire.written = b""
            opened._lines.append((protocol, wire))
        begin = scene.engine.submit_group

        def submit(request: Request, admitted: Admitted, done: Callable[[], object]) -> GroupCall:
            call = begin(request, admitted, done)
            opened.groups.append(call)
            return call

        scene.engine.submit_group = submit  # type: ignore[method-assign]
        return opened

    def ask(self, *values: float, headers: tuple[bytes, ...] = ()) -> None:
        """One value from each client, all in one pass of the loop."""
        for client, value in enumerate(values):
            self.send(client, value, *headers)

    @property
    def lines(self) -> list[tuple[HttpConnection, Wire]]:
        return self._lines

    def send(self, client: int, value: float, *headers: bytes) -> None:
        self._lines[client][0].data_received(write(value, ("y",), *headers))

    def leave(self, client: int) -> None:
        self._lines[client][0].connection_lost(None)

    def heard(self, client: int) -> int:
        return count(self._lines[client][1].written)

    def wire(self, client: int) -> Wire:
        return self._lines[client][1]

    async def answers(self, *clients: int) -> list[tuple[int, bytes]]:
        """The one answer of each of these clients, all by default."""
        wires = [self._lines[one][1] for one in clients or range(len(self._lines))]
        await until(lambda: all(heard(wire, 1) for wire in wires))
        return [split(wire.written)[0] for wire in wires]

    async def occupy(self, stage: ToyStage, gate: threading.Event) -> None:
        """Let the first client's row hold the device until the gate opens."""
        stage.gate = gate
        stage.batches.clear()
        self.send(0, 500.0)
        await until(lambda: stage.batches == [[500.0]])
