"""What must not break a running server: signals, kills, floods, damage; with every answer checked."""

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.devices import CpuDevice
from routes.loading import load_route
from routes.offline import run_offline
from tests.live import ROOT, LiveServer
from tests.rpc_client import infer_calls
from tests.tiny_routes import make_pictures, write_route

PICTURES = make_pictures(32, seed=5)
SLOW_WIDTH = 48  # channels that make the large stage take milliseconds


def labels_of(directory: Path) -> list[int]:
    route = load_route(directory, CpuDevice())
    rows = run_offline(route.pipeline, {"image": PICTURES}, CpuDevice())
    return [int(row.outcome.outputs["label"]) for row in rows]


def body_of(index: int, timeout_ms: float | None = None) -> dict[str, object]:
    picture = PICTURES[index % len(PICTURES)]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28]}
    parameters: dict[str, object] = {"no_cache": True}
    if timeout_ms is not None:
        parameters["timeout_ms"] = timeout_ms
    return {"inputs": [{**tensor, "data": picture.ravel().tolist()}], "parameters": parameters}


async def ask(
    client: httpx.AsyncClient, index: int, timeout_ms: float | None = None, route: str = "tiny"
) -> httpx.Response:
    return await client.post(f"/v2/models/{route}/infer", json=body_of(index, timeout_ms))


def label_in(response: httpx.Response) -> int:
    outputs = {one["name"]: one["data"] for one in response.json()["outputs"]}
    return int(outputs["label"][0])


def client_for(server: LiveServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30.0)


def test_sigterm_under_load_answers_every_accepted_request_on_both_doors(tmp_path: Path) -> None:
    right = labels_of(write_route(tmp_path))

    async def http_client(server: LiveServer, stop: asyncio.Event) -> int:
        """Ask until the server says goodbye; connections it refuses to open were never accepted."""
        answered = 0
        async with client_for(server) as client:
            while not stop.is_set():
                try:
                    response = await ask(client, answered)
                except httpx.ConnectError:
                    return answered
                assert response.status_code == 200, response.text
                assert label_in(response) == right[answered % len(right)]
                answered += 1
        return answered

    async def main() -> None:
        with LiveServer(tmp_path) as server:
            stop = asyncio.Event()
            clients = [asyncio.create_task(http_client(server, stop)) for _ in range(8)]
            rpc = asyncio.create_task(infer_calls(server.grpc_address, PICTURES, clients=4))
            await asyncio.sleep(1.0)
            code = await asyncio.to_thread(server.stop)
            stop.set()
            answered = await asyncio.gather(*clients)
            assert code == 0
            assert min(answered) > 0
            calls = await rpc
            assert calls.answered > 0
            assert calls.lost == []
            assert calls.labels_of(len(PICTURES)) <= set(enumerate(right))

    asyncio.run(main())


def test_kill_under_load_then_a_restart_gives_right_answers(tmp_path: Path) -> None:
    right = labels_of(write_route(tmp_path))

    async def main() -> None:
        with LiveServer(tmp_path) as server:
            async with client_for(server) as client:
                asking = [asyncio.create_task(ask(client, index)) for index in range(64)]
                await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                server.kill()
                for got in await asyncio.gather(*asking, return_exceptions=True):
                    assert isinstance(got, (httpx.Response, httpx.TransportError))
            server.start()
            async with client_for(server) as client:
                got = [await ask(client, index) for index in range(len(right))]
            assert [label_in(response) for response in got] == right

    asyncio.run(main())


def test_five_times_too_much_is_refused_in_time_and_memory_stays_bounded(tmp_path: Path) -> None:
    right = labels_of(write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0]))
    timeout_s = 0.25
    settings = "[engine]\nmax_queued_rows = 64\n"

    async def flood(server: LiveServer, seconds: float) -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []
        limits = httpx.Limits(max_connections=320)
        end = time.monotonic() + seconds
        async with httpx.AsyncClient(
            base_url=server.url, timeout=30.0, limits=limits
        ) as client:

            async def one(offset: int) -> None:
                index = offset
                while time.monotonic() < end:
                    started = time.monotonic()
                    response = await ask(client, index, timeout_ms=timeout_s * 1e3)
                    took_s = time.monotonic() - started
                    assert response.status_code in {200, 429, 503, 504}, response.text
                    if response.status_code == 200:
                        assert label_in(response) == right[index % len(right)]
                    if response.status_code in {429, 503}:
                        assert int(response.headers["retry-after"]) >= 1
                    seen.append((response.status_code, took_s))
                    index += 1

            await asyncio.gather(*(one(offset) for offset in range(320)))
        return seen

    with LiveServer(tmp_path, settings) as server:
        asyncio.run(flood(server, 1.0))
        before = server.resident_bytes()
        seen = asyncio.run(flood(server, 3.0))
        assert server.resident_bytes() - before < 50 * 2**20
        codes = {code for code, _ in seen}
        assert 200 in codes
        assert codes & {429, 503}
        late = server.metric("sparing_latency_seconds_count") - sum(
            float(line.rsplit(" ", 1)[1])
            for line in server.get("/metrics").decode().splitlines()
            if line.startswith("sparing_latency_seconds_bucket") and 'le="0.25"' in line
        )
        assert late == 0  # measured inside the server: the flooding client itself is slow


def test_a_damaged_route_is_named_and_refused_and_the_others_serve(tmp_path: Path) -> None:
    write_route(tmp_path, route="good")
    bad = write_route(tmp_path, route="bad")
    graph = next(bad.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    with LiveServer(tmp_path) as server:
        assert str(bad) in server.log.read_text()
        routes = server.get("/v1/routes").decode()
        assert '"good"' in routes
        assert '"bad"' not in routes


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path, door: str) -> None:
    write_route(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = ["--http-port", port, "--grpc-port", "0"]
        if door == "grpc":
            ports = ["--http-port", "0", "--grpc-port", port]
        command = [sys.executable, "-m", "sparing.cli", "serve", "--models", str(tmp_path), *ports]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.decode().splitlines() if "serving " not in line]
    assert len(lines) == 1
    assert port in lines[0]


def test_a_thousand_identical_requests_at_once_run_the_model_once(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0])
    picture = make_pictures(1, seed=77)[0].ravel().tolist()
    body = {
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "data": picture}]
    }

    async def main(server: LiveServer) -> None:
        limits = httpx.Limits(max_connections=1000)
        async with httpx.AsyncClient(base_url=server.url, timeout=60.0, limits=limits) as client:
            got = await asyncio.gather(
                *(client.post("/v2/models/tiny/infer", json=body) for _ in range(1000))
            )
        assert {response.status_code for response in got} == {200}
        assert len({str(response.json()["outputs"]) for response in got}) == 1

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))
        assert server.metric("sparing_batch_rows_sum", stage="stage0") == 1


def test_ten_thousand_random_route_names_add_no_metric_series(tmp_path: Path) -> None:
    write_route(tmp_path)
    names = np.random.default_rng(1).integers(0, 2**62, 10_000)

    async def main(server: LiveServer) -> None:
        async with client_for(server) as client:
            for start in range(0, len(names), 50):
                part = names[start : start + 50]
                got = await asyncio.gather(*(ask(client, 0, route=f"r{name}") for name in part))
                assert {response.status_code for response in got} == {404}

    with LiveServer(tmp_path) as server:
        asyncio.run(_one_right_and_one_wrong(server))
        before = _series(server)
        asyncio.run(main(server))
        assert _series(server) == before


async def _one_right_and_one_wrong(server: LiveServer) -> None:
    async with client_for(server) as client:
        assert (await ask(client, 0)).status_code == 200
        assert (await ask(client, 0, route="nothing")).status_code == 404


def _series(server: LiveServer) -> Sequence[str]:
    lines = server.get("/metrics").decode().splitlines()
    return sorted(line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#"))


def test_under_load_a_deadline_between_the_stages_brings_the_light_answer_in_time(
    tmp_path: Path,
) -> None:
    write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0], max_batch=32)
    asked = ["label", "exit", "stopped_by"]

    async def main(server: LiveServer) -> None:
        async with client_for(server) as client:
            stop = asyncio.Event()

            async def load(offset: int) -> None:
                index = offset
                while not stop.is_set():
                    assert (await ask(client, index)).status_code == 200
                    index += 1

            loads = [asyncio.create_task(load(offset)) for offset in range(24)]
            await asyncio.sleep(1.0)
            profile = (await client.get("/v1/routes")).json()["routes"][0]["profile"]
            light_ms = profile["stage0"]["full_batch_ms"]
            large_ms = profile["stage1"]["full_batch_ms"]
            assert large_ms > 10 * light_ms, "the test needs a large stage that is slow"
            between_ms = 1.5 * large_ms + 10  # a running large batch may stand in front of it
            outcomes = []
            for index in range(20):
                body = body_of(index, between_ms)
                body["outputs"] = [{"name": name} for name in asked]
                response = await client.post("/v2/models/tiny/infer", json=body)
                assert response.status_code == 200, response.text
                outputs = {one["name"]: one["data"][0] for one in response.json()["outputs"]}
                outcomes.append((outputs["exit"], outputs["stopped_by"]))
            late = await ask(client, 0, timeout_ms=0.5)
            assert late.status_code == 504
            stop.set()
            await asyncio.gather(*loads)
        assert ("stage0", "deadline") in outcomes

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))


def test_a_client_that_goes_away_costs_no_more(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0], max_batch=1)

    async def main(server: LiveServer) -> None:
        async with client_for(server) as client:
            asking = [asyncio.create_task(ask(client, index)) for index in range(200)]
            await asyncio.sleep(0.2)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        async with client_for(server) as client:
            for _ in range(200):
                routes = (await client.get("/v1/routes")).json()["routes"]
                waiting = [s["waiting_rows"] for s in routes[0]["profile"].values()]
                if sum(waiting) == 0:
                    break
                await asyncio.sleep(0.01)
            assert sum(waiting) == 0
            assert (await ask(client, 0)).status_code == 200

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))
        ran = server.metric("sparing_batch_rows_sum", stage="stage1")
        assert ran < 200


def test_a_directory_replaced_under_load_fails_no_request(tmp_path: Path) -> None:
    models, next_models = tmp_path / "models", tmp_path / "next"
    write_route(models)

    async def main(server: LiveServer) -> None:
        stop = asyncio.Event()
        versions: set[str] = set()

        async def load(client: httpx.AsyncClient, offset: int) -> None:
            index = offset
            while not stop.is_set():
                response = await ask(client, index)
                assert response.status_code == 200, response.text
                versions.add(response.json()["model_version"])
                index += 1

        async with client_for(server) as client:
            loads = [asyncio.create_task(load(client, offset)) for offset in range(8)]
            await asyncio.sleep(0.3)
            shutil.move(write_route(next_models, version="2", seed=2), models / "tiny" / "2")
            end = time.monotonic() + 10.0
            while "2" not in versions and time.monotonic() < end:
                await asyncio.sleep(0.05)
            shutil.rmtree(models / "tiny" / "1")
            await asyncio.sleep(0.5)
            stop.set()
            await asyncio.gather(*loads)
        assert versions == {"1", "2"}

    with LiveServer(models, "[routes]\nreload_interval_s = 0.1\n") as server:
        asyncio.run(main(server))
