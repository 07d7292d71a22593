"""A rollout on live servers: from start to promotion and rollback, without a failed request."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from harness.live_server import LiveServer
from harness.servers import post
from harness.tiny_routes import SIZE, make_pictures, write_route
from harness.waiting import wait_until
from routes.rollouts import RolloutPlan
from sparing.cli import run

SETTINGS = "[routes]\nreload_interval_s = 0.05\n[energy]\nsource = 'none'\n"
PICTURES = make_pictures(8)
KEYS = [f"caller {number}" for number in range(20)]
Seen = dict[str, list[str]]


def ask(server: LiveServer, key: str, version: str = "", number: int = 0) -> str:
    """Return the version that answered. Raises for every status but 200."""
    picture = PICTURES[number % len(PICTURES)]
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, SIZE, SIZE],
        "data": picture.reshape(-1).tolist(),
    }
    path = "/v2/models/tiny" + (f"/versions/{version}" if version else "") + "/infer"
    raw, _ = post(
        server.http_port, path, json.dumps({"inputs": [tensor]}).encode(), [f"X-Rollout-Key: {key}"]
    )
    found: str = json.loads(raw)["model_version"]
    return found


class CommandLine:
    """`sparing rollout tiny …`: its exit code, and what it prints on both streams."""

    def __init__(self, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._models = models
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = run(["rollout", "tiny", *arguments, "--models", str(self._models)])
        return code, "".join(self._capsys.readouterr())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root, version="1", seed=1)
    return root


@pytest.fixture(scope="module")
def servers(models: Path) -> Iterator[list[LiveServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(LiveServer(models, SETTINGS)) for _ in range(2)]


class Load:
    """Asks both servers without a pause, each time as another caller, until the block ends."""

    def __init__(self, servers: list[LiveServer]) -> None:
        self._servers = servers
        self._over = threading.Event()
        self.answered = 0

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(2)
        self._asking = [self._pool.submit(self._ask, server) for server in self._servers]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self.answered = sum(asking.result() for asking in self._asking)  # raises what failed

    def _ask(self, server: LiveServer) -> int:
        answered = 0
        while not self._over.is_set():
            ask(server, KEYS[answered % len(KEYS)], number=answered)
            answered += 1
        return answered


def wait_for(servers: list[LiveServer], expected: dict[str, object]) -> None:
    """Wait until all servers show these versions' places in the rollout."""
    for server in servers:

        def shows(server: LiveServer = server) -> bool:
            routes = json.loads(server.get("/v1/routes"))["routes"]
            return {one["version"]: one["rollout"] for one in routes} == expected

        wait_until(shows, f"the server does not follow: {expected}")


def look(servers: list[LiveServer]) -> Seen:
    """Return the versions that each server gives to each caller, twice."""
    return {key: [ask(one, key) for one in servers for _ in range(2)] for key in KEYS}


def test_a_rollout_from_start_to_promotion_and_rollback_fails_no_request(
    servers: list[LiveServer], models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = servers[0]
    sparing = CommandLine(models, capsys)
    with Load(servers) as load:
        code, text = sparing("start", "--canary", "2", "--stable", "1", "--share", "0.3")
        assert (code, "not there yet" in text) == (0, True)
        write_route(models, version="2", seed=2)
        share = 0.3
        places: dict[str, object] = {
            "1": {"role": "stable", "share": share},
            "2": {"role": "canary", "share": share},
        }
        wait_for(servers, places)

        plan = RolloutPlan("1", "2", share)
        chosen = {key: "2" if plan.choose("tiny", key) == "canary" else "1" for key in KEYS}
        assert set(chosen.values()) == {"1", "2"}
        assert look(servers) == {key: [version] * 4 for key, version in chosen.items()}
        for key in KEYS[:4]:
            assert [ask(first, key, version) for version in ("1", "2")] == ["1", "2"]
        assert [ask_rpc(first, key) for key in KEYS[:10]] == [chosen[key] for key in KEYS[:10]]

        demanding = ("--server", first.url, "--min-requests", "1000000")
        code, text = sparing("promote", *demanding)
        assert (code, "not promoted" in text) == (3, True)
        code, text = sparing("status", *demanding)
        assert (code, "0.3 of the callers get version 2" in text) == (3, True)
        assert "failed requests: undecided" in text
        assert first.metric("sparing_rollout_requests_total", role="canary", result="ok") > 0

        assert sparing("promote", "--force")[0] == 0
        wait_for(servers, {"1": None, "2": None})
        assert look(servers) == {key: ["2"] * 4 for key in KEYS}

        assert sparing("start", "--canary", "1", "--share", "1")[0] == 0
        back = {"role": "canary", "share": 1.0}
        wait_for(servers, {"1": back, "2": {"role": "stable", "share": 1.0}})
        assert look(servers) == {key: ["1"] * 4 for key in KEYS}
        assert sparing("rollback")[0] == 0
        wait_for(servers, {"1": None, "2": None})
        assert look(servers) == {key: ["2"] * 4 for key in KEYS}
        assert sparing("rollback")[0] == 1  # nothing is under way
    assert load.answered > 0


def ask_rpc(server: LiveServer, key: str) -> str:
    with triton.InferenceServerClient(server.grpc_address) as client:
        picture = triton.InferInput("image", [1, SIZE, SIZE], "UINT8")
        picture.set_data_from_numpy(PICTURES[:1])
        answer = client.infer("tiny", [picture], headers={"x-rollout-key": key})
    version: str = answer.get_response().model_version
    return version
