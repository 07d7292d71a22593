"""One-row requests whose JSON has come before: answered from the cache as by the long way."""

import asyncio
import time
from functools import partial
from random import Random

import numpy as np
import pytest

from core.messages import Outcome, Step
from harness.waiting import until
from serving.http.infer.repeated_rows import RepeatedRow
from tests.fakes.toys import ToyStage, final
from tests.serving.http.infer.binary_rows import last_number, write
from tests.serving.http.wire import Scene, heard, play, read, split

NAMES = ("y", "exit", "stopped_by", "cached", "confidence", "macs")


async def ask(scene: Scene, *packets: bytes) -> list[tuple[int, bytes]]:
    """Ask one after the other on one connection."""
    protocol, wire = scene.connect()
    for number, packet in enumerate(packets, 1):
        protocol.data_received(packet)
        await until(partial(heard, wire, number))
    return split(wire.written)


def test_replies_and_counts_are_those_of_the_long_way() -> None:
    """Over ASGI nothing takes the short way."""
    rng = Random(7)
    packets = []
    for _ in range(150):
        value = float(rng.randrange(6))
        chosen = rng.randrange(8)
        if chosen < 4:
            packets.append(write(value))
        elif chosen == 4:
            packets.append(write(value, rng.sample(NAMES, 3)))
        elif chosen == 5:
            packets.append(write(value, min_confidence=rng.choice((0.5, 0.95))))
        elif chosen == 6:
            packets.append(write(value, timeout_ms=60_000.0))
        else:
            packets.append(write(value, no_cache=rng.random() < 0.5))
    told: list[object] = []

    async def script(scene: Scene) -> None:
        replies = await ask(scene, *packets)
        counts = scene.memory.counts()
        told.append(
            (replies, scene.requests(), scene.rows(), counts.hits, counts.misses, counts.stores)
        )

    for asgi in (False, True):
        play(script, asgi=asgi)
    assert told[0] == told[1]


def test_a_cached_row_is_answered_at_once_and_its_bytes_decide() -> None:
    async def script(scene: Scene) -> None:
        await ask(scene, write(1.0), write(2.0))
        protocol, wire = scene.connect()
        for number, value in enumerate((1.0, 2.0, 1.0, 2.0), 1):
            protocol.data_received(write(value))
            await until(partial(heard, wire, number)) if number == 1 else None
        assert [last_number(one) for one in split(wire.written)] == [1.0, 2.0, 1.0, 2.0]
        assert scene.memory.counts().hits == 4
        (known,) = scene.endpoint.infer._headers._requests.values()
        assert known.row is not None
        assert known.row._replies  # the short way was taken

    play(script)


def test_tenants_share_nothing() -> None:
    async def script(scene: Scene) -> None:
        tenants = [b"x-tenant: " + name for name in (b"shop", b"shop", b"lab", b"lab", b"shop")]
        await ask(scene, *[write(1.0, ("y",), tenant) for tenant in tenants])
        counts = scene.memory.counts()
        assert (counts.hits, counts.misses) == (3, 2)

    play(script, tenant_header="X-Tenant")


def test_another_source_of_energy_is_told_at_once() -> None:
    async def script(scene: Scene) -> None:
        await ask(scene, *[write(1.0)] * 3)
        scene.route.metrics.energy.source = "model"
        first, second = await ask(scene, *[write(1.0)] * 2)
        assert b'"energy_source":"model"' in first[1]
        assert first == second

    play(script)


def test_an_output_of_another_type_than_declared_is_still_converted() -> None:
    def step(value: float) -> Step:
        return Step(1, Outcome({"y": np.asarray(value, np.float32)}, 0.9, "a"), None)

    async def script(scene: Scene) -> None:
        replies = await ask(scene, *[write(1.5)] * 4)
        assert [last_number(one) for one in replies] == [1.5] * 4
        assert scene.memory.counts().hits == 3

    play(script, stage=ToyStage("a", step))


def test_an_answer_of_zeros_does_not_hide_that_its_type_is_not_the_declared_one() -> None:
    """A zero has the same bytes in every type."""

    def step(value: float) -> Step:
        return Step(1, Outcome({"y": np.asarray(value, np.int64)}, 0.9, "a"), None)

    async def script(scene: Scene) -> None:
        replies = await ask(scene, *[write(0.0)] * 3, *[write(3.0)] * 3)
        assert [last_number(one) for one in replies] == [0.0] * 3 + [3.0] * 3

    play(script, stage=ToyStage("a", step))


def test_an_output_that_the_stage_does_not_give_fails_every_time() -> None:
    def step(value: float) -> Step:
        return Step(1, Outcome({"z": np.asarray(value)}, 0.9, "a"), None)

    async def script(scene: Scene) -> None:
        replies = await ask(scene, *[write(1.5)] * 3)
        assert {status for status, _ in replies} == {500}
        assert scene.requests() == {"StageFailed": 3}

    play(script, stage=ToyStage("a", step))


def test_a_route_that_goes_answers_no_more() -> None:
    async def script(scene: Scene) -> None:
        await ask(scene, *[write(1.0)] * 2)
        protocol, wire = scene.connect()
        protocol.data_received(write(1.0))
        await read(wire, 1)
        scene.catalog.replace([])
        protocol.data_received(write(1.0))
        assert [status for status, _ in await read(wire, 2)] == [200, 404]

    play(script)


def test_an_expired_answer_is_computed_anew() -> None:
    stage = ToyStage("a", lambda value: final(value, "a"))

    async def script(scene: Scene) -> None:
        await ask(scene, *[write(1.0)] * 3)
        scene.memory._clock = lambda: time.monotonic() + 1e9
        (reply,) = await ask(scene, write(1.0))
        assert last_number(reply) == 1.0
        assert len(stage.batches) == 2

    play(script, stage=stage)


@pytest.mark.parametrize("limit", [65, 500])
def test_what_is_kept_of_tenants_is_bounded(limit: int) -> None:
    row = RepeatedRow(0, {"y": np.dtype(np.float64)})
    for number in range(limit):
        row.keep_hasher(str(number), None)  # type: ignore[arg-type]
        assert len(row._hashers) <= 64


def test_several_clients_at_once_get_their_own_answers() -> None:
    async def script(scene: Scene) -> None:
        rng = Random(3)

        async def client(seed: int) -> None:
            values = [float(rng.randrange(9)) for _ in range(30)]
            replies = await ask(scene, *[write(value) for value in values])
            assert [last_number(one) for one in replies] == values

        await asyncio.gather(*map(client, range(6)))

    play(script)
