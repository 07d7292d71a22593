"""Requests of one row that arrive together: one call, but answered as if each were alone."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from unittest.mock import MagicMock

import pytest

from core.messages import Step
from harness.waiting import until
from serving.engine.catalog import Catalog
from tests.fakes.toys import ToyStage, cascade, final, serve_toy
from tests.serving.http.infer.binary_rows import last_number, write
from tests.serving.http.infer.gathered_clients import Clients
from tests.serving.http.wire import Scene, connect, heard, play, split


def test_rows_of_one_pass_are_one_call_and_one_batch() -> None:
    stage = ToyStage("a", lambda value: final(value + 0.5, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 5)
        stage.batches.clear()
        clients.ask(1.0, 2.0, 3.0, 4.0, 5.0)
        answers = await clients.answers()
        assert [last_number(one) for one in answers] == [1.5, 2.5, 3.5, 4.5, 5.5]
        assert stage.batches == [[1.0, 2.0, 3.0, 4.0, 5.0]]
        assert len(clients.groups) == 1
        assert scene.requests() == {"ok": 15}
        assert sum(scene.rows().values()) == 15

    play(script, stage=stage)


@pytest.mark.parametrize("names", [("y",), ("y", "exit", "confidence", "macs", "stopped_by")])
def test_replies_are_bit_for_bit_those_of_requests_that_come_alone(names: Sequence[str]) -> None:
    async def script(scene: Scene) -> None:
        lines = [connect(scene) for _ in range(5)]
        packets = [write(value, names, no_cache=True) for value in (1.0, 2.0, 1.0, 3.0, -4.5)]
        alone, together = [], []
        for (protocol, wire), packet in zip(lines, packets, strict=True):
            protocol.data_received(packet)
            await until(partial(heard, wire, 1))
            alone.append(split(wire.written)[0])
            wire.written = b""
        begin = MagicMock(side_effect=scene.engine.submit_group)
        scene.engine.submit_group = begin  # type: ignore[method-assign]
        for (protocol, _), packet in zip(lines, packets, strict=True):
            protocol.data_received(packet)
        await until(lambda: all(heard(wire, 1) for _, wire in lines))
        together = [split(wire.written)[0] for _, wire in lines]
        assert together == alone
        begin.assert_called_once()

    play(script)


def test_equal_rows_are_computed_once() -> None:
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 6)
        stage.batches.clear()
        clients.ask(1.0, 2.0, 1.0, 2.0, 1.0, 1000.0)  # the last one is cached
        assert clients.heard(5) == 1
        answers = await clients.answers()
        assert [last_number(one) for one in answers] == [1.0, 2.0, 1.0, 2.0, 1.0, 1000.0]
        assert stage.batches == [[1.0, 2.0]]

    play(script, stage=stage)


def test_a_row_joins_one_that_is_under_way_for_another_group() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        stage.gate = gate
        stage.batches.clear()
        clients.ask(7.0)
        await until(lambda: stage.batches == [[7.0]])
        for client, value in ((1, 7.0), (2, 8.0), (3, 7.0)):
            clients.send(client, value)
        await until(lambda: len(clients.groups) == 2)
        gate.set()
        answers = await clients.answers()
        assert [last_number(one) for one in answers] == [7.0, 7.0, 8.0, 7.0]
        assert stage.batches == [[7.0], [8.0]]

    play(script, stage=stage)


def test_each_row_of_a_cascade_is_answered_when_it_is_done() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def script(scene: Scene) -> None:
        scene.engine.catalog = Catalog([serve_toy(light, large, metrics=scene.metrics)])
        clients = await Clients.open(scene, 4)
        clients.ask(1.0, 2.0, 3.0, 4.0)
        answers = await clients.answers(1, 3)
        assert [last_number(one) for one in answers] == [2.0, 4.0]
        assert clients.heard(0) == clients.heard(2) == 0
        gate.set()
        answers = await clients.answers(0, 2)
        assert [last_number(one) for one in answers] == [101.0, 103.0]

    play(script)


def _fail_on(*bad: float) -> Callable[[float], Step]:
    def step(value: float) -> Step:
        if value in bad:
            raise ValueError("no")
        return final(value, "a")

    return step


def test_a_row_that_fails_fails_alone_with_the_sentence_it_gets_alone() -> None:
    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        clients.ask(66.0)
        (alone,) = await clients.answers(0)
        clients.wire(0).written = b""
        clients.ask(1.0, 66.0, 2.0, 66.0)
        answers = await clients.answers()
        assert [last_number(answers[0]), last_number(answers[2])] == [1.0, 2.0]
        assert answers[1] == answers[3] == alone
        assert alone[0] == 500
        assert scene.requests() == {"ok": 10, "StageFailed": 3}

    play(script, stage=ToyStage("a", _fail_on(66.0)))


def test_a_row_with_nan_is_refused_alone() -> None:
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        scene.route.finite_inputs.append("x")
        clients = await Clients.open(scene, 3)
        stage.batches.clear()
        clients.ask(1.0, float("nan"), 2.0)
        answers = await clients.answers()
        assert [status for status, _ in answers] == [200, 400, 200]
        assert b"inputs.x: row 0 has NaN" in answers[1][1]
        assert [last_number(answers[0]), last_number(answers[2])] == [1.0, 2.0]
        assert scene.requests()["InvalidInput"] == 1

    play(script, stage=stage)


def test_an_internal_fault_of_a_group_answers_each_alone() -> None:
    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 3)
        broken = MagicMock(side_effect=RuntimeError("broken"))
        scene.engine.submit_group = broken  # type: ignore[method-assign]
        clients.ask(1.0, 2.0, 3.0)
        assert [last_number(one) for one in await clients.answers()] == [1.0, 2.0, 3.0]

    play(script)


def test_a_full_queue_takes_what_fits_and_refuses_the_rest() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 9)
        stage.gate = gate
        clients.ask(500.0)
        await until(lambda: stage.batches[-1] == [500.0])
        for number in range(1, 9):
            clients.send(number, float(number))
        await until(lambda: any(clients.heard(number) for number in range(1, 9)))
        gate.set()
        answers = await clients.answers()
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 429}
        served = [last_number(one) for one in answers if one[0] == 200]
        assert served == [500.0, *[float(n) for n in range(1, 9) if statuses[n] == 200]]
        assert len(served) > 1

    play(script, stage=stage, engine={"max_queued_rows": 4})


def test_bodies_that_do_not_fit_together_are_answered_one_by_one() -> None:
    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 3)
        take = scene.endpoint._bodies.try_take
        asked: list[int] = []

        def try_take(body_bytes: int, caller: str = "") -> bool:
            asked.append(body_bytes)
            return len(asked) > 1 and take(body_bytes, caller)

        scene.endpoint._bodies.try_take = try_take  # type: ignore[method-assign]
        clients.ask(1.0, 2.0, 3.0)
        assert [last_number(one) for one in await clients.answers()] == [1.0, 2.0, 3.0]
        assert asked[0] == 3 * asked[1]

    play(script)


def test_more_rows_than_a_request_may_have_become_several_groups() -> None:
    async def script(scene: Scene) -> None:
        scene.endpoint.infer._gathering._max_rows = 2
        clients = await Clients.open(scene, 5)
        clients.ask(1.0, 2.0, 3.0, 4.0, 5.0)
        assert [last_number(one) for one in await clients.answers()] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert len(clients.groups) == 3

    play(script)


def test_tenants_are_never_gathered_together() -> None:
    async def script(scene: Scene) -> None:
        shops = await Clients.open(scene, 2, b"x-tenant: shop")
        labs = await Clients.open(scene, 2, b"x-tenant: lab")
        shops.ask(1.0, 2.0, headers=(b"x-tenant: shop",))
        labs.ask(1.0, 2.0, headers=(b"x-tenant: lab",))
        for clients in (shops, labs):
            assert [last_number(one) for one in await clients.answers()] == [1.0, 2.0]
        tenants = [call.request.tenant for call in labs.groups]
        assert sorted(tenants) == ["lab", "shop"]

    play(script, tenant_header="x-tenant")


@pytest.mark.parametrize("when", ["before", "queued", "running"])
def test_a_client_that_leaves_takes_only_its_own_row_along(when: str) -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        stage.gate = gate
        stage.batches.clear()
        if when == "queued":
            clients.ask(500.0)
            await until(lambda: stage.batches == [[500.0]])
        for number in (1, 2, 3):
            clients.send(number, float(number))
        if when == "running":
            await until(lambda: stage.batches == [[1.0, 2.0, 3.0]])
        elif when == "queued":
            await until(lambda: len(clients.groups) == 2)
        clients.leave(2)
        assert scene.requests()["ClientGone"] == 1
        gate.set()
        answers = await clients.answers(1, 3)
        assert [last_number(one) for one in answers] == [1.0, 3.0]
        computed = stage.batches[-1]
        assert computed == ([1.0, 2.0, 3.0] if when == "running" else [1.0, 3.0])
        assert scene.requests()["ok"] == 10 + (when == "queued")

    play(script, stage=stage)


def test_once_all_clients_have_left_nothing_is_computed() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        stage.gate = gate
        stage.batches.clear()
        clients.ask(500.0)
        await until(lambda: stage.batches == [[500.0]])
        for number in (1, 2, 3):
            clients.send(number, float(number))
        await until(lambda: len(clients.groups) == 2)
        for number in (1, 2, 3):
            clients.leave(number)
        body = write(500.0).partition(b"\r\n\r\n")[2]
        assert scene.endpoint._bodies.in_flight_bytes == len(body)
        gate.set()
        await clients.answers(0)
        assert stage.batches == [[500.0]]
        assert scene.requests()["ClientGone"] == 3

    play(script, stage=stage)


def test_a_row_for_which_another_request_waits_is_computed_after_its_client_left() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 4)
        stage.gate = gate
        stage.batches.clear()
        clients.ask(500.0)
        await until(lambda: stage.batches == [[500.0]])
        clients.send(1, 9.0)
        await until(lambda: len(clients.groups) == 2)
        clients.send(2, 9.0)
        clients.send(3, 10.0)
        await until(lambda: len(clients.groups) == 3)
        clients.leave(1)
        gate.set()
        answers = await clients.answers(2, 3)
        assert [last_number(one) for one in answers] == [9.0, 10.0]

    play(script, stage=stage)


def test_a_gathered_reply_returns_its_request_id_and_waits_for_its_client() -> None:
    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 3)
        named = write(4.0, ("y",), b"x-request-id: mine")
        clients.lines[0][0].data_received(named)
        (first,) = await clients.answers(0)
        assert b"x-request-id: mine" in first[1]
        clients.lines[1][0].pause_writing()
        clients.send(1, 5.0)
        clients.send(2, 6.0)
        await clients.answers(2)
        assert clients.heard(1) == 0
        clients.lines[1][0].resume_writing()
        assert last_number((await clients.answers(1))[0]) == 5.0

    play(script)


def test_a_drain_waits_for_gathered_rows_and_their_connections_close() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        clients = await Clients.open(scene, 2)
        stage.gate = gate
        clients.ask(1.0, 2.0)
        await until(lambda: stage.batches[-1] == [1.0, 2.0])
        drained = asyncio.create_task(scene.engine.drain(5.0))
        await asyncio.sleep(0)
        assert not drained.done()
        gate.set()
        assert await drained
        for status, answer in await clients.answers():
            assert status == 200
            assert b"connection: close" in answer

    play(script, stage=stage)
