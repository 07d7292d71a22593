"""Faults inside a group, and its place among other requests."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pytest

from core.messages import Outcome, Step
from harness.waiting import until
from serving.engine.catalog import Catalog
from serving.http.infer import gathering
from serving.http.infer.repeated_headers import KnownHeader
from tests.fakes.toys import ToyStage, final, serve_toy
from tests.serving.http.infer.binary_rows import write
from tests.serving.http.infer.gathered_clients import Clients
from tests.serving.http.wire import Scene, connect, heard, play


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_row_without_a_declared_output_hurts_no_other(bad: int) -> None:
    def step(value: float) -> Step:
        return final(value, "a") if value < 60.0 or value > 70.0 else Step(1, _EMPTY, None)

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 3)
        values = [1.0, 2.0, 3.0]
        values[bad] = 66.0
        clients.ask(*values)
        answers = await clients.answers()
        assert [status for status, _ in answers] == [500 if n == bad else 200 for n in range(3)]
        assert scene.requests()["ok"] == 8

    play(script, stage=ToyStage("a", step))


_EMPTY = Outcome({}, 0.9, "a")


def test_a_fault_of_one_group_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    join, calls = gathering._join_inputs, []

    def fail_once(known: KnownHeader, bodies: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        calls.append(known)
        if len(calls) == 1:
            raise MemoryError
        return join(known, bodies)

    async def script(scene: Scene) -> None:
        shop, lab = b"x-tenant: shop", b"x-tenant: lab"
        shops, labs = await Clients.open(scene, 2, shop), await Clients.open(scene, 2, lab)
        calls.clear()
        monkeypatch.setattr(gathering, "_join_inputs", fail_once)
        shops.ask(1.0, 2.0, headers=(shop,))
        labs.ask(1.0, 2.0, headers=(lab,))
        for status, _ in [*await shops.answers(), *await labs.answers()]:
            assert status == 200

    play(script, tenant_header="x-tenant")


def test_a_group_that_finds_no_place_is_counted_once() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 10)
        await clients.occupy(stage, gate)
        before = scene.memory.counts().misses
        for client in range(1, 10):
            clients.send(client, float(client))
        await until(lambda: any(clients.heard(client) for client in range(1, 10)))
        gate.set()
        answers = await clients.answers()
        assert {status for status, _ in answers} == {200, 429}
        assert scene.requests()["ok"] == sum(scene.rows().values())
        assert scene.memory.counts().misses - before == 9

    play(script, stage=stage, engine={"max_queued_rows": 4})


def _make_slow(scene: Scene, stage: ToyStage) -> None:
    """Rows are predicted to take 100 ms each, 4 in a batch."""
    served = serve_toy(stage, max_batch=4, metrics=scene.metrics)
    scene.engine.catalog = Catalog([served])


def _predict_slow(scene: Scene) -> None:
    (served,) = scene.engine.catalog.newest()
    served.entry.times.calibrate(0.1, 0.4, 4)
    served.entry.take()  # no rows: it reads the times


def test_later_requests_do_not_overtake_the_rows_of_a_group() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        _make_slow(scene, stage)
        clients = await Clients.open(scene, 30)
        _predict_slow(scene)
        stage.gate = gate
        stage.batches.clear()
        clients.ask(*[float(number) for number in range(1, 21)])
        await until(lambda: len(stage.batches) == 1)
        for client in range(20, 30):
            clients.send(client, 100.0 + client)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gate.set()
        await clients.answers()
        order = [value for batch in stage.batches for value in batch]
        assert max(order.index(float(number)) for number in range(1, 21)) == 19

    play(script, stage=stage)


def test_the_rows_of_a_group_go_before_a_large_request_of_their_address() -> None:
    """Each request of a caller has an equal share of the caller's time (decision 0034)."""
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        _make_slow(scene, stage)
        clients = await Clients.open(scene, 17)
        _predict_slow(scene)
        stage.gate = gate
        stage.batches.clear()
        _, wire = connect(scene, write(7.0, ("y",), rows=40, no_cache=True))
        await until(lambda: len(stage.batches) == 1)
        clients.ask(*[100.0 + number for number in range(16)])
        await until(lambda: len(clients.groups) == 1)
        gate.set()
        await clients.answers(*range(16))
        order = [value for batch in stage.batches for value in batch]
        last = max(order.index(100.0 + number) for number in range(16))
        assert order[4 : last + 1].count(7.0) <= 4
        await until(partial(heard, wire, 1))

    play(script, stage=stage)
