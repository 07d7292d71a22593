"""Requests at the connection: answered, counted and refused as over ASGI, by another server."""

import asyncio
import json
import re
import socket
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.messages import Outcome, Step
from harness.live_server import LiveServer
from harness.tiny_routes import write_route
from harness.waiting import until
from serving.http.connection import HttpConnection
from serving.http.connections import ConnectionState
from serving.http.exchange import MAX_BUFFERED_BYTES
from tests.clients.bad_input import GOOD
from tests.clients.bad_input import post as post_tiny
from tests.fakes.toys import ToyStage, final
from tests.serving.http.conversations import CHUNKED, KNOWN, NEW, SAME, Packets
from tests.serving.http.wire import (
    DATE,
    Protocols,
    Scene,
    count,
    heard,
    label,
    play,
    post,
    read,
    split,
    write_body,
)


@pytest.mark.parametrize(("packets", "answers"), SAME.values(), ids=SAME.keys())
def test_answers_and_counts_are_those_over_asgi(packets: Packets, answers: int) -> None:
    told: list[object] = []

    async def script(scene: Scene) -> None:
        await scene.teach(1.0, 2.0)
        protocol, wire = scene.connect()
        for number, packet in enumerate(packets):
            protocol.data_received(packet)
            if len(packets) == answers:  # one after the other
                await until(partial(heard, wire, number + 1))
        continues = b"100 Continue" in wire.written
        told.append(DATE.sub(b"", wire.written) if continues else await read(wire, answers))
        await until(lambda: not scene.state.tasks)
        counts = scene.memory.counts()
        told.append(
            (wire.closing, dict(scene.metrics._requests), scene.rows(), counts.hits, counts.misses)
        )

    for asgi in (False, True):
        play(script, asgi=asgi, max_body_bytes=MAX_BUFFERED_BYTES)
    assert told[:2] == told[2:]


def test_a_known_answer_needs_no_task_and_a_new_one_neither() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN)
        assert label(split(wire.written)[0]) == 1.0  # at once
        protocol.data_received(NEW)
        assert not scene.state.tasks
        assert [label(one) for one in await read(wire, 2)] == [1.0, 3.0]

    play(script)


def test_an_idle_connection_keeps_nothing_of_its_last_request() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(NEW)
        await read(wire, 1)
        assert isinstance(protocol, HttpConnection)
        assert not protocol._queue
        assert protocol._arriving is protocol._parsed is None

    play(script)


def test_tenants_share_no_answers_at_the_connection_either() -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = scene.connect()
        for number, tenant in enumerate((b"shop", b"shop", b"lab", b"lab"), 1):
            protocol.data_received(post(write_body(1.0), b"x-tenant: " + tenant))
            await until(partial(heard, wire, number))
        counts = scene.memory.counts()
        assert (counts.hits, counts.misses) == (2, 2)

    play(script, tenant_header="X-Tenant")


def test_a_connection_just_accepted_may_still_ask_when_the_server_shuts_down() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        (asking, wire), (silent, other) = scene.connect(), scene.connect()
        for one in (asking, silent):
            one.shutdown()
        asking.data_received(KNOWN)
        (answer,) = await read(wire, None)
        assert label(answer) == 1.0
        await until(lambda: other.closing)
        assert not other.written

    play(script)


def test_a_request_whose_head_came_before_the_shutdown_is_answered() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN[:-5])
        protocol.shutdown()
        protocol.data_received(KNOWN[-5:])
        (answer,) = await read(wire, None)
        assert label(answer) == 1.0
        assert b"\r\nconnection: close\r\n" in answer[1]

    play(script)


def test_answers_carry_connection_close_while_draining() -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        begun, held = scene.connect(), scene.connect()
        begun[0].data_received(NEW)
        held[0].data_received(KNOWN[:-1])
        scene.engine.draining = True
        gate.set()
        held[0].data_received(KNOWN[-1:])
        for value, (_, wire) in zip((3.0, 1.0), (begun, held), strict=True):
            (answer,) = await read(wire, None)
            assert label(answer) == value
            assert b"\r\nconnection: close\r\n" in answer[1]

    play(script, stage=stage)


def test_a_token_is_asked_for() -> None:
    async def script(scene: Scene) -> None:
        token = b"authorization: Bearer secret"
        body = write_body(1.0)
        answers = await scene.talk(post(body, token), post(body, token), KNOWN, answers=3)
        assert [status for status, _ in answers] == [200, 200, 401]

    play(script, bearer_token="secret")


def test_each_request_gets_its_own_id_back() -> None:
    async def script(scene: Scene) -> None:
        ids = [b"a", b"b", b"", b"b", b"b", b" "]
        packets = [
            post(write_body(1.0), *([b"x-request-id: " + one] if one else [])) for one in ids
        ]
        packets.append(post(b"", b"x-request-id: c", url=b"/nothing", method=b"GET"))
        answers = await scene.talk(*packets, answers=len(packets))
        found = [re.findall(rb"\r\nx-request-id: (.*)\r\n", answer) for _, answer in answers]
        assert found == [[b"a"], [b"b"], [], [b"b"], [b"b"], [], [b"c"]]
        assert [status for status, _ in answers] == [200] * 6 + [404]

    play(script)


def test_a_token_that_is_removed_is_refused_on_open_connections_too() -> None:
    async def script(scene: Scene) -> None:
        request = post(write_body(1.0), b"authorization: Bearer old")
        await scene.talk(request, answers=1)
        protocol, wire = scene.connect()
        assert isinstance(protocol, HttpConnection)
        for _ in range(3):
            protocol.data_received(request)
        assert [status for status, _ in await read(wire, 3)] == [200] * 3
        scene.endpoint._callers.use_tokens({"new": ""})
        scene.endpoint.connections.forget_requests()
        protocol.data_received(request)
        protocol.data_received(post(write_body(1.0), b"authorization: Bearer new"))
        assert [status for status, _ in (await read(wire, 5))[3:]] == [401, 200]

    play(script, bearer_token="old")


def make_slow() -> tuple[ToyStage, threading.Event]:
    gate = threading.Event()
    return ToyStage("a", lambda value: final(value, "a"), gate=gate), gate


async def teach_slow(scene: Scene, gate: threading.Event) -> None:
    gate.set()
    await scene.teach(1.0)
    gate.clear()


@pytest.mark.parametrize("part", [KNOWN[:-5], NEW], ids=["in the middle of a body", "behind it"])
def test_a_client_that_goes_is_counted_once_and_leaves_nothing(part: bytes) -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        protocol, wire = scene.connect()
        protocol.data_received(part)
        await asyncio.sleep(0)
        wire.close()
        await until(lambda: scene.requests() == {"ok": 1, "ClientGone": 1})
        assert scene.rows() == {"last_stage": 1}
        gate.set()

    play(script, stage=stage)


def test_an_overload_is_told_and_counted_once() -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        misses = scene.memory.counts().misses
        wires = []
        for value in (2.0, 3.0, 4.0):
            protocol, wire = scene.connect()
            protocol.data_received(post(write_body(value)))
            await until(lambda: len(stage.batches) == 2)  # the first one runs, the second waits
            wires.append(wire)
        assert [status for status, _ in split(wires[2].written)] == [429]
        assert scene.memory.counts().misses == misses + 3
        assert scene.requests() == {"ok": 1, "Overloaded": 1}
        gate.set()
        assert [label((await read(wire, 1))[0]) for wire in wires[:2]] == [2.0, 3.0]

    play(script, stage=stage, engine={"max_queued_rows": 1})


def test_garbage_behind_requests_never_takes_the_answer_of_an_earlier_one() -> None:
    stage, gate = make_slow()
    torn = post(b"2\r\nhello\r\n0\r\n\r\n", CHUNKED, length=b"")

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        protocol, wire = scene.connect()
        protocol.data_received(NEW + torn)
        assert wire.written == b""
        gate.set()
        first, second = await read(wire, None)
        assert label(first) == 3.0
        assert second[0] == 400
        assert b"request: not HTTP/1.1" in second[1]

    play(script, stage=stage)


def is_idle(protocol: Protocols) -> bool:
    assert isinstance(protocol, HttpConnection)
    return protocol.observe()[0] is ConnectionState.IDLE


def test_a_connection_is_not_idle_while_a_request_is_under_way() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN)
        assert is_idle(protocol)
        for rest in (NEW[:-5], NEW):
            protocol.data_received(KNOWN + rest)
            assert not is_idle(protocol)
            protocol.data_received(NEW[-5:] if rest != NEW else b"")
        await read(wire, 5)
        assert is_idle(protocol)
        wire.close()

    play(script)


def test_a_client_that_does_not_read_is_not_written_to() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.pause_writing()
        protocol.data_received(KNOWN)
        await until(lambda: scene.requests() == {"ok": 2})
        assert split(wire.written) == []
        protocol.resume_writing()
        assert [label(one) for one in await read(wire, 1)] == [1.0]

    play(script)


@pytest.mark.parametrize("asgi", [False, True])
def test_an_answer_that_cannot_be_written_is_500(asgi: bool) -> None:
    def answer(value: float) -> Step:
        output = np.array("x") if value > 5 else np.array(value)
        return Step(1, Outcome({"y": output}, 0.9, "a"), None)

    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        answers = await scene.talk(*[post(write_body(9.0))] * 2, answers=2)
        assert [status for status, _ in answers] == [500, 500]
        assert all(b"the server failed; its log has the reason" in one for _, one in answers)
        assert scene.requests() == {"ok": 1, "InternalError": 2}

    play(script, asgi=asgi, stage=ToyStage("a", answer))


def test_a_route_that_goes_between_head_and_body_is_404_and_counted_once() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN[:-5])
        scene.catalog.replace([])
        protocol.data_received(KNOWN[-5:])
        assert [status for status, _ in await read(wire, 1)] == [404]
        assert scene.requests() == {"ok": 1, "UnknownRoute": 1}

    play(script)


def test_a_live_server_answers_a_mixed_row_of_requests_in_order(tmp_path: Path) -> None:
    write_route(tmp_path, stages=1, pipeline="single")
    names = [f"{number}" for number in range(8)]
    requests = b""
    for name in names:
        extra = {"id": name, "parameters": {"no_cache": int(name) % 2 == 1}}
        requests += post_tiny(
            "/v2/models/tiny/infer", json.dumps({"inputs": GOOD["inputs"], **extra}).encode()
        )
    with LiveServer(tmp_path) as server:
        for _ in range(2):  # from the second time on every other one is known
            with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as one:
                one.sendall(requests)
                written = b""
                while count(written) < len(names) or not written.endswith(b"]}]}"):
                    written += one.recv(65536)
            bodies = [answer.partition(b"\r\n\r\n")[2] for _, answer in split(written)]
            assert [json.loads(body)["id"] for body in bodies] == names
        assert server.metric("sparing_requests_total", result="ok") == 16.0
        assert server.metric("sparing_cache_hits_total") == 7.0
