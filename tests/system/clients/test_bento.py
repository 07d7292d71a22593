"""The Bento: built from this repository, served from elsewhere, and as good as `sparing serve`."""

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from harness.live_server import ROOT, LiveServer
from harness.tiny_routes import write_route
from tests.clients.load import PICTURES, Load, labels_of
from tests.clients.raw_http import RawClient
from tests.clients.rpc_client import RpcLoad
from tests.servers.bento import BentoServer, Watch, build_bento, refuse_to_serve

pytestmark = pytest.mark.slow
ROUTE = "fashion-mnist"  # one of the Bento's own
OUTPUTS = ("label", "probabilities", "confidence", "exit")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def building(home: Path) -> Watch:
    return Watch(home / "building")


@pytest.fixture(scope="module")
def serving(home: Path) -> Watch:
    return Watch(home / "serving")


@pytest.fixture(scope="module")
def bento(home: Path, building: Watch) -> Path:
    return build_bento(home, building)


@pytest.fixture(scope="module")
def server(bento: Path, home: Path, serving: Watch) -> Iterator[BentoServer]:
    """Serves the Bento's routes without torch, and a tiny one; the last test stops it."""
    write_route(home / "models")
    for route in (bento / "src" / "models").iterdir():
        if route.name != "vlm-small":  # it needs torch
            (home / "models" / route.name).symlink_to(route)
    models = {"SPARING_MODELS": str(home / "models")}
    with BentoServer(bento, home, serving, models) as live:
        yield live


def test_stock_clients_get_the_answers_of_sparing_serve_through_both_endpoints(
    server: BentoServer,
) -> None:
    with LiveServer(ROOT / "models") as sparing:
        for ask in (_ask_http, _ask_grpc):
            here, there = ask(server), ask(sparing)
            for name in OUTPUTS:
                np.testing.assert_array_equal(here[name], there[name], err_msg=name)


def test_small_requests_are_taken_up_at_the_connection_and_the_others_find_our_pages(
    server: BentoServer,
) -> None:
    async def main() -> None:
        async with RawClient(server.http_port) as client:
            path, body = "/v2/models/tiny/infer", b'{"inputs": []}'
            await client.post(path, body)  # its address is known from now on
            assert (await client.post(path, body)).status == 400

    asyncio.run(main())
    assert "host's stack" not in server.log.read_text()
    assert _get(server, "/readyz") == b'{"ready":true}'
    assert b"sparing_requests_total" in _get(server, "/metrics")
    assert b"sparing" in _get(server, "/schema.json")  # BentoML's own
    assert _get(server, "/healthz") == b"\n"


def test_it_listens_on_this_machine_alone_and_its_image_on_every_interface(
    server: BentoServer, bento: Path
) -> None:
    log = server.log.read_text()
    assert f"listening on http://127.0.0.1:{server.http_port}" in log
    assert f"gRPC 127.0.0.1:{server.grpc_port}" in log
    image = (bento / "env" / "docker" / "Dockerfile").read_text()
    for line in (
        "ARG BENTOML_HOST=0.0.0.0",
        "ARG SPARING_HOST=0.0.0.0",
        "EXPOSE 3000",
        "EXPOSE 3001",
    ):
        assert line in image.splitlines()


def test_what_serves_is_the_bento_and_loads_no_training_framework(
    server: BentoServer, bento: Path, serving: Watch
) -> None:
    read = serving.read("read")
    assert read
    assert all(Path(path).is_relative_to(bento / "src") for path in read)
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in server.pids()]
    assert any("onnxruntime" in text for text in maps)
    assert not any("torch" in text for text in maps)


def test_sigterm_under_load_answers_every_accepted_request_on_both_endpoints(
    server: BentoServer, home: Path
) -> None:
    right = labels_of(home / "models" / "tiny" / "1")

    async def main() -> None:
        async with (
            Load(server, 8, right) as load,
            RpcLoad(server.grpc_address, PICTURES, clients=4) as calls,
        ):
            await asyncio.gather(load.more(20), calls.more(20))
            await calls.expect_refusals()
            assert await asyncio.to_thread(server.stop) == 0
        assert min(load.answered) >= 20
        assert calls.answered >= 4 * 20
        assert calls.lost == []
        assert calls.seen() <= set(enumerate(right))

    asyncio.run(main())
    log = server.log.read_text()
    assert log.index("draining") < log.index("stopped")
    assert "unanswered" not in log


def test_what_cannot_be_served_ends_with_one_line(bento: Path, home: Path, serving: Watch) -> None:
    code, said = refuse_to_serve(bento, home, serving, {"SPARING_MODELS": "/nowhere"})
    assert code == 1
    assert [line for line in said.splitlines() if "/nowhere: no such directory" in line] == [
        said.splitlines()[-1]
    ]
    assert "Traceback" not in said


def test_nothing_was_told_to_anybody(building: Watch, serving: Watch, bento: Path) -> None:
    assert building.read("read")  # the hook was there
    assert serving.read("read")
    assert building.read("away") | serving.read("away") == set()


def _get(server: BentoServer, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
    return body


def _ask_http(server: BentoServer | LiveServer) -> dict[str, Any]:
    return _ask(triton_http, f"127.0.0.1:{server.http_port}")


def _ask_grpc(server: BentoServer | LiveServer) -> dict[str, Any]:
    return _ask(triton_grpc, server.grpc_address)


def _ask(triton: Any, address: str) -> dict[str, Any]:  # tritonclient is untyped
    tensor = triton.InferInput("image", list(PICTURES.shape), "UINT8")
    tensor.set_data_from_numpy(PICTURES)
    outputs = [triton.InferRequestedOutput(name) for name in OUTPUTS]
    with triton.InferenceServerClient(address) as client:
        result = client.infer(ROUTE, [tensor], outputs=outputs)
        return {name: result.as_numpy(name) for name in OUTPUTS}
