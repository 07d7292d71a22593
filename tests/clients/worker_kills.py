"""Kill one worker after the other under checked load on both endpoints, and say what it cost.

Any server with two or more workers will do, whatever else its settings say.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from harness.live_server import LiveServer
from harness.waiting import until, wait_until
from tests.clients.load import PICTURES, ask, label_in
from tests.clients.raw_http import RawClient, Refused
from tests.servers.workers import connections_of, counts_of, pids_of

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]  # channels of a process share one else
RETRY_S = 0.01
THINKING_S = 0.06  # of a caller between two requests; without it they take the workers' cores
LEAST_BETWEEN_KILLS = 50  # answers on each endpoint


@dataclass
class Outcomes:
    """What became of the requests on one endpoint."""

    answered: int = 0
    wrong: int = 0
    retryable: int = 0  # requests whose connection broke, or that got UNAVAILABLE, once or more
    other: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill cost, beside what the victim held at that moment."""

    http_errors: int
    http_connections: int
    grpc_errors: int
    grpc_connections: int


async def kill_workers(
    server: LiveServer, right: Sequence[int], *, kills: int, clients: int
) -> tuple[Outcomes, Outcomes, list[Kill]]:
    """Half of the clients ask over HTTP, half over gRPC, each with a connection of its own and at
    most one request under way. A failed one is asked again a moment later, and counted once: a
    gRPC channel that waits for its next attempt to connect fails all calls meanwhile. Counts that
    fall are an assertion here.
    """
    http, grpc, stop = Outcomes(), Outcomes(), asyncio.Event()
    asking = [
        asyncio.create_task(one(server, right, offset, outcomes, stop))
        for offset in range(clients // 2)
        for one, outcomes in ((_ask_http, http), (_ask_grpc, grpc))
    ]
    costs: list[Kill] = []
    counts: dict[str, float] = {}
    workers = len(pids_of(server))
    for number in range(kills):
        await _let_answer(http, grpc)
        assert not any(task.done() for task in asking)
        victim = sorted(pids_of(server))[number % workers]
        before = http.retryable, grpc.retryable
        held = _stop_and_kill(server, victim)
        await asyncio.to_thread(_wait_for_replacement, server, victim, workers)
        await _let_answer(http, grpc)
        errors = http.retryable - before[0], grpc.retryable - before[1]
        costs.append(Kill(errors[0], held[0], errors[1], held[1]))
        new = await asyncio.to_thread(counts_of, server)
        assert {key: new.get(key, -1.0) for key in counts if new.get(key, -1.0) < counts[key]} == {}
        counts = new
    stop.set()
    await asyncio.gather(*asking)
    return http, grpc, costs


async def _let_answer(*all_outcomes: Outcomes) -> None:
    """Until every endpoint has answered some more."""
    goals = [one.answered + LEAST_BETWEEN_KILLS for one in all_outcomes]

    def have_answered() -> bool:
        return all(one.answered >= goal for one, goal in zip(all_outcomes, goals, strict=True))

    await until(have_answered, "the callers get no answers", 60.0)


def _stop_and_kill(server: LiveServer, pid: int) -> tuple[int, int]:
    """The connections it had, by endpoint; stopped first, so that none comes or goes meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    held = tuple(len(connections_of(pid, port)) for port in (server.http_port, server.grpc_port))
    os.kill(pid, signal.SIGKILL)
    return held[0], held[1]


def _wait_for_replacement(server: LiveServer, victim: int, workers: int) -> None:
    def is_replaced() -> bool:
        pids = pids_of(server)
        return (
            victim not in pids
            and len(pids) == workers
            and server.metric("sparing_workers") == workers
        )

    wait_until(is_replaced, f"process {victim} is not replaced")


async def _ask_http(
    server: LiveServer, right: Sequence[int], offset: int, outcomes: Outcomes, stop: asyncio.Event
) -> None:
    index, failed = offset, -1
    async with RawClient(server.http_port) as client:
        while not stop.is_set():
            try:
                reply = await ask(client, index)
            except (ConnectionError, Refused):
                outcomes.retryable += failed != index
                failed = index
                await asyncio.sleep(RETRY_S)
                continue
            if reply.status != 200:
                outcomes.other.append(f"{reply.status} {reply.body!r}")
                continue
            outcomes.wrong += label_in(reply) != right[index % len(right)]
            outcomes.answered += 1
            index += 1
            await asyncio.sleep(THINKING_S)


async def _ask_grpc(
    server: LiveServer, right: Sequence[int], offset: int, outcomes: Outcomes, stop: asyncio.Event
) -> None:
    index, failed = offset, -1
    address = server.grpc_address
    async with triton.InferenceServerClient(address, channel_args=OWN_CONNECTION) as client:
        while not stop.is_set():
            row = PICTURES[index % len(PICTURES)][None]
            tensor = triton.InferInput("image", list(row.shape), "UINT8")
            tensor.set_data_from_numpy(row)
            try:
                result = await client.infer("tiny", [tensor], parameters={"no_cache": True})
            except InferenceServerException as error:
                if error.status() == "StatusCode.UNAVAILABLE":
                    outcomes.retryable += failed != index
                    failed = index
                    await asyncio.sleep(RETRY_S)
                else:
                    outcomes.other.append(str(error))
                continue
            outcomes.wrong += int(result.as_numpy("label")[0]) != right[index % len(right)]
            outcomes.answered += 1
            index += 1
            await asyncio.sleep(THINKING_S)
