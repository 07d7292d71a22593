"""Server processes that share a Redis: no stale answer while models are updated one by one, and no
failed request while the Redis fails and its replica takes over.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.servers import post
from harness.services.redis_sentinel import ReplicatedRedis
from harness.services.redis_server import RedisServer
from harness.tiny_routes import SIZE, make_pictures, write_route
from harness.waiting import wait_until
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.load import SLOW_WIDTH

pytestmark = pytest.mark.slow
PICTURES = make_pictures(12, seed=31)
SECRET = "0123456789abcdef" * 4
SETTINGS = """\
[cache]
limit_bytes = 1  # every row is looked up in Redis
[cache.remote]
url = "{url}"
secret = "{secret}"
timeout_ms = 1000
[routes]
reload_interval_s = 0.05
"""


class Answer(NamedTuple):
    label: int
    is_cached: bool


def write_model(models: Path, seed: int) -> list[int]:
    """Write version 1 of the route, dear enough to be looked up, and return its labels."""
    directory = write_route(models, width=16 * SLOW_WIDTH, thresholds=[0.9], seed=seed)
    route = load_route(directory, OnnxDevice())
    labels = []
    for row in run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice()):
        assert row.outcome is not None
        labels.append(int(row.outcome.outputs["label"]))
    return labels


def ask(server: LiveServer, number: int) -> Answer:
    """Raises for every status but 200."""
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, SIZE, SIZE],
        "data": PICTURES[number].reshape(-1).tolist(),
    }
    outputs = [{"name": "label"}, {"name": "cached"}]
    body = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    raw, _ = post(server.http_port, "/v2/models/tiny/infer", body)
    found = {one["name"]: one["data"][0] for one in json.loads(raw)["outputs"]}
    return Answer(int(found["label"]), bool(found["cached"]))


def ask_all(server: LiveServer) -> list[int]:
    return [ask(server, number).label for number in range(len(PICTURES))]


def serves_digest(server: LiveServer, digest: str) -> bool:
    routes = json.loads(server.get("/v1/routes"))["routes"]
    return bool(routes[0]["digest"] == digest)


def start_servers(stack: ExitStack, models: Sequence[Path], url: str) -> list[LiveServer]:
    settings = SETTINGS.format(url=url, secret=SECRET)
    return [stack.enter_context(LiveServer(folder, settings)) for folder in models]


def wait_for_hit(server: LiveServer, right: Sequence[int]) -> None:
    """Wait until an answer comes from the cache: which rows are looked up depends on measured
    costs. Every label must be right.
    """
    numbers = cycle(range(len(PICTURES)))

    def is_hit() -> bool:
        number = next(numbers)
        answer = ask(server, number)
        assert answer.label == right[number]
        return answer.is_cached

    wait_until(is_hit, "no answer comes from Redis")


def test_a_rolling_update_of_a_model_gives_no_stale_answer(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        old, again = (write_model(folder, 1) for folder in folders)
        assert old == again
        first, second = start_servers(stack, folders, redis.url)
        assert ask_all(first) == old
        wait_for_hit(second, old)  # which the first one stored

        new = write_model(folders[0], 2)
        assert new != old
        digest = load_route(folders[0] / "tiny" / "1", OnnxDevice()).pipeline.digest.hex()
        wait_until(lambda: serves_digest(first, digest), "the model is not reloaded")
        before = len(redis.keys())
        assert (ask_all(first), ask_all(second)) == (new, old)  # half updated
        wait_until(lambda: len(redis.keys()) > before, "no new answer is stored")
        wait_for_hit(first, new)
        wait_for_hit(second, old)
        write_model(folders[1], 2)
        wait_until(lambda: serves_digest(second, digest), "the model is not reloaded")
        wait_for_hit(second, new)
        assert (ask_all(first), ask_all(second)) == (new, new)


class Load:
    """Asks each server without a pause until the block ends, and checks every label."""

    def __init__(self, servers: Sequence[LiveServer], right: Sequence[int]) -> None:
        self._servers = servers
        self._right = right
        self._over = threading.Event()

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(len(self._servers))
        self._asking = [self._pool.submit(self._ask, server) for server in self._servers]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for asking in self._asking:
            asking.result()  # raises what failed

    def _ask(self, server: LiveServer) -> None:
        number = 0
        while not self._over.is_set():
            assert ask(server, number % len(PICTURES)).label == self._right[number % len(PICTURES)]
            number += 1


@pytest.fixture
def redis() -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis() as replicated:
        yield replicated


def count_hits(server: LiveServer) -> float:
    return server.metric("sparing_cache_remote_hits_total")


def wait_for_more_hits(servers: Sequence[LiveServer], before: Sequence[float]) -> None:
    """Wait until every server has found more answers in Redis than before."""

    def has_more() -> bool:
        return all(count_hits(one) > hits for one, hits in zip(servers, before, strict=True))

    wait_until(has_more, "nothing is found in Redis")


def test_no_request_fails_while_a_replica_takes_over_and_hits_return(
    redis: ReplicatedRedis, tmp_path: Path
) -> None:
    right = write_model(tmp_path, 1)
    with ExitStack() as stack:
        servers = start_servers(stack, [tmp_path, tmp_path], redis.url)
        with Load(servers, right):
            wait_for_more_hits(servers, [0.0 for _ in servers])
            redis.first.kill()
            wait_until(redis.has_failed_over, "the sentinel does not promote the replica")
            wait_for_more_hits(servers, [count_hits(server) for server in servers])
