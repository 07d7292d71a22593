"""Several processes on the same two ports: balanced, replaced, counted together, ended together."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import tritonclient.grpc.aio as triton

from harness.live_server import ROOT, LiveServer
from harness.tiny_routes import write_route
from harness.waiting import until, wait_until
from tests.clients.load import PICTURES, ask, label_in, labels_of
from tests.clients.raw_http import RawClient
from tests.clients.worker_kills import OWN_CONNECTION, kill_workers
from tests.servers.workers import TWO_WORKERS, connections_of, pids_of

CONNECTIONS = 120  # fresh ones, on each endpoint
KILLS = 10


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    return root


@pytest.fixture(scope="module")
def right(models: Path) -> list[int]:
    return labels_of(models / "tiny" / "1")


@pytest.fixture(scope="module")
def shared(models: Path) -> Iterator[LiveServer]:
    """For tests that end no process of it."""
    with LiveServer(models, TWO_WORKERS) as live:
        yield live


@pytest.fixture
def server(models: Path) -> Iterator[LiveServer]:
    with LiveServer(models, TWO_WORKERS) as live:
        yield live


def ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def answers_of(server: LiveServer) -> float:
    return server.metric("sparing_requests_total", result="ok")


def shares_of(server: LiveServer, port: int) -> list[int]:
    """How many connections each worker holds."""
    return [len(connections_of(pid, port)) for pid in pids_of(server)]


def test_fresh_http_connections_are_shared_and_answered_right(
    shared: LiveServer, right: list[int]
) -> None:
    answered = answers_of(shared)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for index in range(CONNECTIONS):
                client = await stack.enter_async_context(RawClient(shared.http_port))
                assert label_in(await ask(client, index)) == right[index % len(right)]
            shares = shares_of(shared, shared.http_port)
        assert sum(shares) == CONNECTIONS
        assert min(shares) >= 0.2 * CONNECTIONS

    asyncio.run(main())
    assert answers_of(shared) - answered == CONNECTIONS


def test_fresh_grpc_connections_are_shared_and_answered_right(
    shared: LiveServer, right: list[int]
) -> None:
    answered = answers_of(shared)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for index in range(CONNECTIONS):
                client = await stack.enter_async_context(
                    triton.InferenceServerClient(shared.grpc_address, channel_args=OWN_CONNECTION)
                )
                tensor = triton.InferInput("image", [1, 28, 28], "UINT8")
                tensor.set_data_from_numpy(PICTURES[index % len(PICTURES)][None])
                result = await client.infer("tiny", [tensor], parameters={"no_cache": True})
                assert result.as_numpy("label")[0] == right[index % len(right)]
            shares = shares_of(shared, shared.grpc_port)
        assert sum(shares) == CONNECTIONS
        assert min(shares) >= 0.2 * CONNECTIONS

    asyncio.run(main())
    assert answers_of(shared) - answered == CONNECTIONS


@pytest.mark.slow
def test_ten_kills_under_load_cost_only_what_the_victims_had_under_way(
    server: LiveServer, right: list[int]
) -> None:
    http, grpc, costs = asyncio.run(kill_workers(server, right, kills=KILLS, clients=16))
    assert (http.wrong, grpc.wrong, http.other, grpc.other) == (0, 0, [], [])
    assert len(costs) == KILLS
    for cost in costs:
        assert cost.http_errors <= cost.http_connections
        assert cost.grpc_errors <= cost.grpc_connections
    assert sum(cost.http_errors + cost.grpc_errors for cost in costs) > 0
    assert server.metric("sparing_worker_starts_total") == 2 + KILLS
    assert server.stop() == 0


def test_counts_of_a_worker_stay_when_it_ends(server: LiveServer) -> None:
    async def main() -> None:
        for index in range(20):
            async with RawClient(server.http_port) as client:
                await ask(client, index)

    asyncio.run(main())
    for pid in pids_of(server):  # in turn, so that one is always there to be asked
        os.kill(pid, signal.SIGTERM)
        wait_until(partial(ended, pid), "the worker does not end")
        wait_until(lambda: server.metric("sparing_workers") == 2, "it is not replaced")
    assert server.metric("sparing_requests_total", result="ok") == 20
    assert server.metric("sparing_worker_starts_total") == 4


def test_when_the_supervisor_is_killed_its_workers_end_and_free_the_ports(
    server: LiveServer,
) -> None:
    workers = pids_of(server)
    server.kill()
    wait_until(lambda: all(map(ended, workers)), "orphans live on")
    for port in (server.http_port, server.grpc_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_ctrl_c_ends_all_of_them_cleanly(server: LiveServer) -> None:
    workers = pids_of(server)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert all(map(ended, workers))


def test_every_worker_serves_a_new_version(tmp_path: Path) -> None:
    write_route(tmp_path)
    with LiveServer(tmp_path, TWO_WORKERS) as server:
        write_route(tmp_path, version="2", seed=9)

        async def main() -> None:
            held: set[int] = set()
            async with AsyncExitStack() as stack:
                while len(held) < 2:
                    client = await stack.enter_async_context(RawClient(server.http_port))
                    await until(partial(_serves_version_2, client))
                    ports = {pid: connections_of(pid, server.http_port) for pid in pids_of(server)}
                    held = {pid for pid, clients in ports.items() if clients}

        asyncio.run(asyncio.wait_for(main(), 30))


async def _serves_version_2(client: RawClient) -> bool:
    return (await ask(client, 0)).json()["model_version"] == "2"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("endpoint", ["http", "grpc"])
def test_a_second_server_is_refused_a_port_that_workers_share(
    shared: LiveServer, models: Path, endpoint: str, workers: str
) -> None:
    port = str(shared.http_port if endpoint == "http" else shared.grpc_port)
    ports = {"--http-port": "0", "--grpc-port": "0", f"--{endpoint}-port": port}
    done = start_in_vain(models, "--workers", workers, *(x for pair in ports.items() for x in pair))
    lines = [line for line in done.stderr.decode().splitlines() if " INFO " not in line]
    assert len(lines) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in lines[0]


def test_workers_without_a_route_end_the_server_with_one_sentence(tmp_path: Path) -> None:
    done = start_in_vain(tmp_path, "--workers", "2", "--http-port", "0", "--grpc-port", "0")
    assert done.stderr.decode() == f"sparing: no route could be loaded from {tmp_path}\n"


def start_in_vain(models: Path, *options: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "sparing.cli", "serve", "--models", str(models), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    return done


def test_a_worker_that_cannot_be_replaced_ends_the_server_with_one_sentence(
    tmp_path: Path,
) -> None:
    folder = write_route(tmp_path)
    with LiveServer(tmp_path, TWO_WORKERS + "[routes]\nreload_interval_s = 60.0\n") as server:
        shutil.rmtree(folder)
        workers = pids_of(server)
        os.kill(min(workers), signal.SIGKILL)
        assert server.process.wait(60) == 1
        assert all(map(ended, workers))
        sentences = [line for line in server.log.read_text().splitlines() if "sparing: " in line]
        assert sentences[-1] == (
            "sparing: worker 1 could not be replaced in 5 tries: "
            f"no route could be loaded from {tmp_path}"
        )
