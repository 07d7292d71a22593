"""Which connections give way when there are too many, or when they hold too many bytes."""

import asyncio
import threading

from harness.waiting import until
from serving.http.connection import QUEUED_BYTES
from serving.http.connections import ConnectionLimits, Connections, ConnectionState
from tests.fakes.toys import ToyStage, final
from tests.serving.http.conversations import GET, KNOWN, NEW
from tests.serving.http.wire import (
    Scene,
    connect,
    find_connections,
    label,
    play,
    post,
    read,
    split,
    write_body,
)


class Waiter:
    """A connection that notes whether it was ended."""

    def __init__(self) -> None:
        self.state = ConnectionState.IDLE
        self.ended = False

    def observe(self) -> tuple[ConnectionState, int]:
        return self.state, 1

    def pending_bytes(self) -> int:
        return 0

    def is_lost(self) -> bool:
        return False

    def time_out(self, state: ConnectionState, after_s: float) -> None:
        raise AssertionError(state)

    def shed(self) -> None:
        self.ended = True

    def forget(self) -> None:
        raise AssertionError("no token has changed")


def test_the_oldest_spare_connections_of_the_caller_with_most_give_way() -> None:
    async def run() -> None:
        connections = Connections(ConnectionLimits(max_connections=6))
        made: list[Waiter] = []
        for caller in ("few", "many", "many", "many", "few", "many"):
            made.append(Waiter())
            assert connections.add(made[-1], caller) is not None
            connections.sweep.advance(1.0)
        made[1].state = ConnectionState.ANSWERING
        connections.sweep.advance(1.0)
        assert connections.add(Waiter(), "new") is not None
        assert [one.ended for one in made] == [False, False, True, False, False, False]
        assert len(connections) == 6

    asyncio.run(run())


def test_a_connection_too_many_is_told_so() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"), gate=gate)

    async def script(scene: Scene) -> None:
        _, first = connect(scene, NEW)
        _, second = connect(scene)
        _, third = connect(scene)
        await until(lambda: second.closing)
        assert not second.written
        third_protocol = third.protocol
        assert third_protocol is not None
        third_protocol.data_received(NEW)
        _, fourth = connect(scene)
        ((status, answer),) = await read(fourth, None)
        assert (status, b"connections: 2 have requests under way" in answer) == (503, True)
        gate.set()
        for wire in (first, third):
            assert [label(one) for one in await read(wire, 1)] == [3.0]

    play(script, stage=stage, max_connections=2)


def test_heads_and_bodies_that_are_not_there_in_full_are_bounded_together() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        half = b"GET /v2 HTTP/1.1\r\nx: " + b"v" * 300
        made = [connect(scene, half if number % 2 else KNOWN[:-5]) for number in range(40)]
        connections = find_connections(scene)
        ended = sum(wire.closing for _, wire in made)
        assert 0 < ended < 40
        kept = sum(place.unread_bytes for place in connections._entries)
        assert kept == connections._unread_bytes <= 4096
        assert {split(wire.written)[0][0] for _, wire in made if wire.closing} == {503}
        for _, wire in made:
            if not wire.closing:
                wire.close()
        await until(lambda: len(connections) == 1)  # that taught
        assert connections._unread_bytes == 0

    play(script, max_unread_bytes=4096)


def test_requests_that_wait_for_another_count_with_the_memory_they_take() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"), gate=gate)

    async def script(scene: Scene) -> None:
        _, few = connect(scene, NEW + GET * 90)
        assert not few.closing
        gate.set()
        assert len(await read(few, 91)) == 91
        gate.clear()
        _, many = connect(scene, post(write_body(4.0)) + GET * 100)
        assert many.closing
        gate.set()

    play(script, stage=stage, max_unread_bytes=100 * QUEUED_BYTES)


def test_who_gives_way_and_does_not_read_is_reset() -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = connect(scene, GET)
        await read(wire, 1)
        aborted: list[bool] = []
        wire.abort = lambda: aborted.append(True)  # type: ignore[method-assign]
        protocol.shed()
        assert (wire.closing, aborted) == (True, [])
        await until(lambda: bool(aborted))

    play(script)
