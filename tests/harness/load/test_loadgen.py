"""The load generator against real servers: what it counts, and that it notices what is wrong."""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from harness.load.loadgen import Load, Plan, load_http
from harness.load.traffic import Traffic
from harness.servers import find_free_port, run_echo

PLAN = Plan(connections=4, seconds=20.0, warm_up_s=0.0, count=50)
BODIES = [b'{"n": %d}' % index for index in range(7)]
SAME = Traffic(BODIES, BODIES, 0)
Answer = Callable[[bytes], bytes]


def load_tiny_server(answer: Answer, plan: Plan, traffic: Traffic) -> Load:
    """Load a server that writes `answer(body)` to every request, in two pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                raw = answer(await reader.readexactly(size))
                writer.write(raw[:20])
                await writer.drain()
                writer.write(raw[20:])
                if not raw:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def run() -> Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await load_http(plan, traffic, port, "/raw")

    return run_quickly(run())


def run_quickly(work: Coroutine[Any, Any, Load]) -> Load:
    return uvloop.run(asyncio.wait_for(work, 30))  # the loop that the generator runs on


def respond(body: bytes, status: str = "200 OK") -> bytes:
    other = "Inference-Header-Content-Length: 1"
    return (
        f"HTTP/1.1 {status}\r\n{other}\r\nContent-Length: {len(body)}\r\nx: y\r\n\r\n".encode()
        + body
    )


def test_a_count_ends_the_window_and_right_answers_are_no_fault() -> None:
    load = load_tiny_server(respond, PLAN, SAME)
    assert 50 <= load.requests < 60
    assert (load.errors, load.wrong) == (0, 0)
    assert 0 < load.p50_ms <= load.p99_ms
    assert load.requests_s == load.requests / load.seconds
    assert load.cpu_us is None


def test_seconds_end_the_window() -> None:
    plan = dataclasses.replace(PLAN, count=None, seconds=0.1)
    load = load_tiny_server(respond, plan, SAME)
    assert load.requests > 0
    assert 0.09 <= load.seconds < 5


def test_every_wrong_answer_is_counted() -> None:
    load = load_tiny_server(lambda body: respond(body.replace(b"3", b"4")), PLAN, SAME)
    assert load.errors == 0
    assert 0 < load.wrong <= load.requests / 7 + PLAN.connections


def test_a_status_other_than_200_is_an_error() -> None:
    load = load_tiny_server(lambda body: respond(body, "503 Busy"), PLAN, SAME)
    assert load.errors >= 50
    assert load.wrong == 0


def test_an_empty_body_is_an_answer() -> None:
    load = load_tiny_server(lambda _: respond(b""), PLAN, Traffic([b""], [b""]))
    assert load.requests >= 50 and load.errors == 0


def test_lost_connections_end_the_window_and_are_errors() -> None:
    load = load_tiny_server(lambda _: b"", PLAN, SAME)
    assert load.errors == PLAN.connections
    assert load.requests == 0


def test_a_server_that_is_not_there_is_an_error_for_each_connection() -> None:
    load = run_quickly(load_http(PLAN, SAME, find_free_port(), "/raw"))
    assert load.errors == PLAN.connections


def test_the_echoes_send_back_what_came_and_their_cpu_time_is_seen() -> None:
    with run_echo() as server:
        plan = dataclasses.replace(PLAN, count=4000, server_pid=server.pid)
        raw = run_quickly(load_http(plan, SAME, server.http_port, "/raw"))
        compact = Traffic(BODIES, [body.replace(b" ", b"") for body in BODIES], 0)
        parsed = run_quickly(load_http(plan, compact, server.http_port, "/json"))
    assert server.ready_s > 0
    assert (raw.errors, raw.wrong, parsed.errors, parsed.wrong) == (0, 0, 0, 0)
    assert raw.cpu_us is not None and 0 < raw.cpu_us < 10_000
    assert not os.path.exists(f"/proc/{server.pid}")
