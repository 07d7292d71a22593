"""What must not break a running server: signals, kills, floods, damage. Answers are checked."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.live_server import ROOT, LiveServer
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import until
from tests.clients.load import (
    BODIES,
    PICTURES,
    SLOW_WIDTH,
    TENSOR,
    Load,
    ask,
    body_of,
    first_labels_of,
    label_in,
    labels_of,
    output,
    profile_of,
    series_of,
)
from tests.clients.raw_http import RawClient, RawReply, Refused, ask_in_a_row, make_post
from tests.clients.rpc_client import RpcLoad
from tests.servers.workers import TWO_WORKERS

REPLY_MARGIN_MS = 2.0  # the setting's default
SLOWER_WIDTH = 16 * SLOW_WIDTH  # the large stage takes 10 ms and more


@pytest.mark.parametrize("settings", ["", TWO_WORKERS])
def test_sigterm_under_load_answers_every_accepted_request_on_both_endpoints(
    tmp_path: Path, settings: str
) -> None:
    right = labels_of(write_route(tmp_path))

    async def main() -> None:
        with LiveServer(tmp_path, settings) as server:
            async with (
                Load(server, 8, right) as load,
                RpcLoad(server.grpc_address, PICTURES, clients=4) as calls,
            ):
                await asyncio.gather(load.more(20), calls.more(20))
                await calls.expect_refusals()
                code = await asyncio.to_thread(server.stop)
            assert code == 0
            assert min(load.answered) >= 20
            assert calls.answered >= 4 * 20
            assert calls.lost == []
            assert calls.seen() <= set(enumerate(right))

    asyncio.run(main())


def test_kill_under_load_then_a_restart_gives_right_answers(tmp_path: Path) -> None:
    right = labels_of(write_route(tmp_path))

    async def main() -> None:
        with LiveServer(tmp_path) as server:
            clients = [RawClient(server.http_port) for _ in range(64)]
            asking = [asyncio.create_task(ask(client, n)) for n, client in enumerate(clients)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            server.kill()
            for got in await asyncio.gather(*asking, return_exceptions=True):
                assert isinstance(got, RawReply | ConnectionError | Refused), got
            for client in clients:
                client.close()
            server.start()
            async with RawClient(server.http_port) as client:
                assert [label_in(await ask(client, n)) for n in range(len(right))] == right

    asyncio.run(main())


def test_five_times_too_much_is_refused_in_time_and_memory_stays_bounded(tmp_path: Path) -> None:
    directory = write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0])
    right, light = labels_of(directory), first_labels_of(directory)
    timeout_ms = 1000.0
    settings = "[engine]\nmax_queued_rows = 64\n"

    async def flood(server: LiveServer, seconds: float) -> set[int]:
        seen: set[int] = set()
        end = time.monotonic() + seconds

        async def one(offset: int) -> None:
            index = offset
            async with RawClient(server.http_port) as client:
                while time.monotonic() < end:
                    body = body_of(index, timeout_ms, "label", "stopped_by")
                    reply = await client.post("/v2/models/tiny/infer", body)
                    assert reply.status in {200, 429, 503, 504}, reply.body
                    if reply.status == 200:
                        cut_short = output(reply, "stopped_by") == "deadline"
                        labels = light if cut_short else right
                        assert label_in(reply) == labels[index % len(labels)]
                    if reply.status in {429, 503}:
                        assert int(reply.headers["retry-after"]) >= 1
                    seen.add(reply.status)
                    index += 1

        await asyncio.gather(*(one(offset) for offset in range(320)))
        return seen

    with LiveServer(tmp_path, settings) as server:
        asyncio.run(flood(server, 1.0))
        before = server.resident_bytes()
        codes = asyncio.run(flood(server, 3.0))
        assert server.resident_bytes() - before < 50 * 2**20
        assert 200 in codes
        assert codes & {429, 503}
        late = server.metric("sparing_latency_seconds_count") - sum(
            float(line.rsplit(" ", 1)[1])
            for line in server.get("/metrics").decode().splitlines()
            if line.startswith("sparing_latency_seconds_bucket") and 'le="1.0"' in line
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


@pytest.mark.parametrize("endpoint", ["http", "grpc"])
def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path, endpoint: str) -> None:
    write_route(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = ["--http-port", port, "--grpc-port", "0"]
        if endpoint == "grpc":
            ports = ["--http-port", "0", "--grpc-port", port]
        command = [sys.executable, "-m", "sparing.cli", "serve", "--models", str(tmp_path), *ports]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.decode().splitlines() if " INFO " not in line]
    assert len(lines) == 1
    assert port in lines[0]


def test_a_thousand_identical_requests_at_once_run_the_model_once(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0])
    picture = make_pictures(1, seed=77)[0].ravel().tolist()
    tensor = {**TENSOR, "data": picture}
    body = json.dumps({"inputs": [tensor]}).encode()

    async def main(server: LiveServer) -> None:
        clients = [RawClient(server.http_port) for _ in range(1000)]
        got = await asyncio.gather(
            *(client.post("/v2/models/tiny/infer", body) for client in clients)
        )
        assert {reply.status for reply in got} == {200}
        assert len({str(reply.json()["outputs"]) for reply in got}) == 1
        for client in clients:
            client.close()

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))
        assert server.metric("sparing_batch_rows_sum", stage="stage0") == 1


def test_ten_thousand_random_route_names_add_no_metric_series(tmp_path: Path) -> None:
    write_route(tmp_path)
    names = np.random.default_rng(1).integers(0, 2**62, 10_000)
    requests = [make_post(f"/v2/models/r{name}/infer", BODIES[0]) for name in names]
    with LiveServer(tmp_path, '[energy]\nsource = "none"\n') as server:  # whose series come later
        asyncio.run(_one_right_and_one_wrong(server))
        before = series_of(server)
        assert Counter(ask_in_a_row(server.http_port, requests)) == {404: 10_000}
        assert series_of(server) == before


async def _one_right_and_one_wrong(server: LiveServer) -> None:
    async with RawClient(server.http_port) as client:
        assert (await ask(client, 0)).status == 200
        assert (await client.post("/v2/models/nothing/infer", BODIES[0])).status == 404


def test_under_load_a_deadline_between_the_stages_brings_the_light_answer_in_time(
    tmp_path: Path,
) -> None:
    right = labels_of(write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[1.0]))

    async def main(server: LiveServer) -> None:
        reasons: Counter[tuple[str, str] | int] = Counter()
        async with Load(server, 80, right), RawClient(server.http_port) as client:
            await until(lambda: _batches(server) >= 30, "no load")  # the profile has followed it
            for index in range(30):
                profile = await asyncio.to_thread(profile_of, server)
                large_ms = profile["stage1"]["full_batch_ms"]  # runs already, and once more
                light_ms = large_ms + profile["stage0"]["full_batch_ms"]
                timeout_ms = REPLY_MARGIN_MS + light_ms + large_ms * (0.1 + 0.8 * index / 30)
                body = body_of(index, timeout_ms, "exit", "stopped_by", "latency_ms")
                reply = await client.post("/v2/models/tiny/infer", body)
                if reply.status == 200:
                    assert output(reply, "latency_ms") <= timeout_ms
                    reasons[output(reply, "exit"), output(reply, "stopped_by")] += 1
                else:
                    assert reply.status == 504, reply.body
                    reasons[504] += 1
            await _refuses_what_cannot_be_in_time(client)
        assert reasons["stage0", "deadline"] >= 3, reasons
        assert reasons[504] < 30 // 2, reasons

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))


def _batches(server: LiveServer) -> float:
    return server.metric("sparing_batch_rows_count", stage="stage1")


def _versions(server: LiveServer) -> set[str]:
    return {route["version"] for route in json.loads(server.get("/v1/routes"))["routes"]}


async def _refuses_what_cannot_be_in_time(client: RawClient) -> None:
    """They are refused by what is predicted, unless a busy machine reads one too late for that."""
    predicted, late = b"the first stage is predicted to need", b"had passed when it arrived"
    reasons: Counter[bytes] = Counter()
    for index in range(9):
        reply = await ask(client, index, timeout_ms=REPLY_MARGIN_MS + 0.01)
        assert reply.status == 504
        reasons[predicted if predicted in reply.body else late] += 1
        assert predicted in reply.body or late in reply.body, reply.body
    assert reasons[predicted] >= 3, reasons


def test_a_client_that_goes_away_costs_no_more(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[1.0], max_batch=1)
    bodies = [
        json.dumps({"inputs": [{**TENSOR, "data": picture.ravel().tolist()}]}).encode()
        for picture in make_pictures(300, seed=8)
    ]

    async def main(server: LiveServer) -> None:
        clients = [RawClient(server.http_port) for _ in bodies]
        asking = [
            asyncio.create_task(client.post("/v2/models/tiny/infer", body))
            for client, body in zip(clients, bodies, strict=True)
        ]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        for task, client in zip(asking, clients, strict=True):
            task.cancel()
            client.reset()
        await asyncio.gather(*asking, return_exceptions=True)
        await until(
            lambda: not any(stage["waiting_rows"] for stage in profile_of(server).values()),
            "rows that have no caller are still queued",
        )
        async with RawClient(server.http_port) as client:
            assert (await ask(client, 0)).status == 200

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))
        assert server.metric("sparing_batch_rows_sum", stage="stage1") < len(bodies)


def test_a_directory_replaced_under_load_fails_no_request(tmp_path: Path) -> None:
    models, next_models = tmp_path / "models", tmp_path / "next"
    write_route(models)

    async def main(server: LiveServer) -> None:
        async with Load(server, 8, []) as load:
            await load.more(3)
            shutil.move(write_route(next_models, version="2", seed=2), models / "tiny" / "2")
            await until(lambda: "2" in load.versions, "version 2 does not answer")
            shutil.rmtree(models / "tiny" / "1")
            await until(lambda: _versions(server) == {"2"}, "version 1 is still there")
            await load.more(3)
        assert load.versions == {"1", "2"}

    with LiveServer(models, "[routes]\nreload_interval_s = 0.1\n") as server:
        asyncio.run(main(server))
