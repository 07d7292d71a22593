"""Clients that leave while other rows of their group go on."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from cache.packing import Packed
from core.messages import Step
from harness.waiting import until
from serving.engine.caches.remote_lookup import RemoteLookup
from serving.engine.catalog import Catalog
from tests.fakes.toys import ToyStage, cascade, final, onward, serve_toy
from tests.serving.http.infer.binary_rows import write
from tests.serving.http.infer.gathered_clients import Clients
from tests.serving.http.wire import Scene, play


def _flatten(stage: ToyStage) -> list[float]:
    return [value for batch in stage.batches for value in batch]


def test_a_running_row_does_not_go_on_to_the_next_stage() -> None:
    gate = threading.Event()
    light, large = cascade()
    light.gate = gate

    async def script(scene: Scene) -> None:
        gate.set()
        scene.engine.catalog = Catalog([serve_toy(light, large, metrics=scene.metrics)])
        clients = await Clients.open(scene, 2)
        gate.clear()
        light.batches.clear()
        clients.ask(3.0, 5.0)
        await until(lambda: bool(light.batches))
        clients.leave(0)
        gate.set()
        await clients.answers(1)
        assert _flatten(large) == [5.0]

    play(script)


def test_a_row_that_takes_many_steps_stops() -> None:
    """Values count down to the next thousand, one step each."""
    gate = threading.Event()

    def step(value: float) -> Step:
        return final(value, "a") if int(value) % 1000 == 0 else onward(value - 1, "a", "a")

    stage = ToyStage("a", step)

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 2)
        stage.gate = gate
        stage.batches.clear()
        clients.ask(1500.0, 2010.0)
        await until(lambda: bool(stage.batches))
        clients.leave(0)
        gate.set()
        await clients.answers(1)
        assert [value for value in _flatten(stage) if value <= 1500.0] == [1500.0]

    play(script, stage=stage)


class SlowTier:
    """A second cache that answers, with nothing, when a test says so."""

    timeout_s = 5.0
    max_concurrent_lookups = 1

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[int] = []

    def lookup_state(self) -> str:
        return "closed"

    async def look_up(
        self, keys: Sequence[bytes], within_s: float | None = None
    ) -> list[Packed | None]:
        self.asked.append(len(keys))
        await self.go.wait()
        return [None] * len(keys)

    def put(self, *_: object) -> None: ...
    def counts(self) -> None: ...
    async def close(self) -> None: ...


def test_a_row_that_is_looked_up_in_the_second_cache_is_not_computed() -> None:
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 2)
        tier = SlowTier()
        scene.engine.under_way.lookup = RemoteLookup(
            tier,  # type: ignore[arg-type]
            scene.memory,
            scene.engine.schedulers,
            0.0,
        )
        stage.batches.clear()
        clients.ask(1.0, 2.0)
        await until(lambda: bool(tier.asked))
        clients.leave(0)
        tier.go.set()
        await clients.answers(1)
        assert stage.batches == [[2.0]]

    play(script, stage=stage)


def test_a_waiting_row_beside_two_equal_ones_is_not_computed() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        await clients.occupy(stage, gate)
        for client, value in ((1, 1.0), (2, 1.0), (3, 3.0)):
            clients.send(client, value)
        await until(lambda: len(clients.groups) == 2)
        clients.leave(3)
        gate.set()
        await clients.answers(1, 2)
        assert stage.batches[-1] == [1.0]

    play(script, stage=stage)


@pytest.mark.parametrize("leaving", [(1,), (2,), (1, 2)])
def test_equal_rows_are_computed_for_the_client_that_stays(leaving: tuple[int, ...]) -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        await clients.occupy(stage, gate)
        for client, value in ((1, 1.0), (2, 1.0), (3, 3.0)):
            clients.send(client, value)
        await until(lambda: len(clients.groups) == 2)
        for client in leaving:
            clients.leave(client)
        gate.set()
        await clients.answers(*{1, 2, 3}.difference(leaving))
        assert sorted(stage.batches[-1]) == ([3.0] if leaving == (1, 2) else [1.0, 3.0])

    play(script, stage=stage)


def test_a_row_that_a_group_joined_is_freed_when_both_clients_left() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 5)
        await clients.occupy(stage, gate)
        clients.send(1, 9.0)
        clients.send(2, 10.0)
        await until(lambda: len(clients.groups) == 2)
        clients.send(3, 9.0)
        clients.send(4, 11.0)
        await until(lambda: len(clients.groups) == 3)
        clients.leave(3)
        clients.leave(1)
        gate.set()
        await clients.answers(2, 4)
        assert 9.0 not in _flatten(stage)

    play(script, stage=stage)


def test_many_clients_that_leave_a_waiting_group_copy_little() -> None:
    """Each copy of the remaining inputs would take the event loop's time."""
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 33)
        await clients.occupy(stage, gate)
        for client in range(1, 33):
            clients.send(client, float(client))
        await until(lambda: len(clients.groups) == 2)
        for client in range(1, 32):
            clients.leave(client)
        assert len(clients.groups[-1].blocks) <= 6
        gate.set()
        await clients.answers(32)
        assert stage.batches[-1] == [32.0]

    play(script, stage=stage)


def test_the_bytes_of_answered_rows_are_given_back() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def script(scene: Scene) -> None:
        gate.set()
        scene.engine.catalog = Catalog([serve_toy(light, large, metrics=scene.metrics)])
        clients = await Clients.open(scene, 10)
        gate.clear()
        clients.ask(*[2.0 * number for number in range(1, 10)], 3.0)
        await clients.answers(*range(9))
        body = write(3.0).partition(b"\r\n\r\n")[2]
        assert scene.endpoint._bodies.in_flight_bytes == len(body)
        gate.set()
        await clients.answers(9)

    play(script)
