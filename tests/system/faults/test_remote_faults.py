"""A Redis that is killed, paused, slow, full, spoilt or restarted under load harms no answer, and
is used again by itself when it is well.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.services.redis_faults import Harm, fill, heal, kill, pause, restart, slow, spoil
from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import wait_until
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.load import SLOW_WIDTH
from tests.clients.remembered_load import Pictures, RememberedLoad

pytestmark = pytest.mark.slow
SECRET = "0123456789abcdef" * 4
NO_FIRST_TIER = "[cache]\nlimit_bytes = 1\n"  # every row is asked of the second
PART = 60  # answers on each endpoint before, during and after a fault
PICTURES = make_pictures(64, seed=21)


@dataclass
class Place:
    """A Redis behind a proxy, a route, and what is right."""

    redis: RedisServer
    proxy: SlowProxy
    models: Path
    right: list[int]

    def settings(self) -> str:
        url = f"redis://127.0.0.1:{self.proxy.port}/0"
        return f'{NO_FIRST_TIER}[cache.remote]\nurl = "{url}"\nsecret = "{SECRET}"\n'


def write_dear_route(models: Path, **options: Any) -> Path:
    """A route whose rows take milliseconds, longer than any lookup."""
    return write_route(models, width=16 * SLOW_WIDTH, thresholds=[0.9], **options)


def label(directory: Path, pictures: Pictures) -> list[int]:
    route = load_route(directory, OnnxDevice())
    labels = []
    for row in run_offline(route.pipeline, {"image": pictures}, OnnxDevice()):
        assert row.outcome is not None
        labels.append(int(row.outcome.outputs["label"]))
    return labels


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    models = tmp_path_factory.mktemp("models")
    return models, label(write_dear_route(models), PICTURES)


@pytest.fixture
def place(labelled: tuple[Path, list[int]]) -> Iterator[Place]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        proxy = stack.enter_context(SlowProxy(redis.port))
        yield Place(redis, proxy, *labelled)
        if redis.process.poll() is None:
            redis.resume()


def heal_and_empty(place: Place) -> None:
    heal(place)
    with place.redis.client() as client:
        client.flushall()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (kill, "connection"),
        (pause, "timeout"),
        (slow, "timeout"),
        (fill, "refused"),
        (spoil, "invalid"),
    ],
)
def test_a_fault_costs_no_answer_is_counted_and_passes(
    place: Place, harm: Harm, reason: str
) -> None:
    async def main() -> None:
        with LiveServer(place.models, place.settings()) as server:

            def stores() -> float:
                return server.metric("sparing_cache_remote_stores_total")

            def is_used() -> bool:
                return server.metric("sparing_cache_remote_breaker_open") == 0

            async with RememberedLoad(server, PICTURES, place.right) as load:
                await load.more(PART)
                await asyncio.to_thread(wait_until, lambda: stores() > 0, "nothing is stored")
                harm(place)
                await load.more(PART)

                def counted() -> bool:
                    if harm is spoil:  # values stored meanwhile are right again
                        spoil(place)
                    name = "sparing_cache_remote_errors_total"
                    return server.metric(name, reason=reason) > 0

                await asyncio.to_thread(wait_until, counted, f"no {reason} error is counted")
                heal_and_empty(place)
                before = stores()
                await asyncio.to_thread(wait_until, lambda: stores() > before, "no recovery")
                await asyncio.to_thread(wait_until, is_used, "the breakers stay open")
                await load.more(PART)
            assert (load.wrong, load.errors) == (0, [])

    asyncio.run(main())


def test_a_redis_restarted_under_load_is_used_again(place: Place) -> None:
    async def main() -> None:
        with LiveServer(place.models, place.settings()) as server:
            async with RememberedLoad(server, PICTURES, place.right) as load:
                for _ in range(3):
                    await load.more(PART)
                    await asyncio.to_thread(restart, place)
                    await asyncio.to_thread(wait_until, lambda: place.redis.keys() != [], "unused")
                await load.more(PART)
            assert (load.wrong, load.errors) == (0, [])

    asyncio.run(main())


def test_a_second_process_gives_the_answers_of_the_first(place: Place) -> None:
    def all_stored() -> bool:
        return len(place.redis.keys()) == len(PICTURES)

    async def ask(server: LiveServer) -> None:
        async with RememberedLoad(server, PICTURES, place.right) as load:
            await load.more(PART)
            await asyncio.to_thread(wait_until, all_stored, "not all is stored")
        assert (load.wrong, load.errors) == (0, [])

    with LiveServer(place.models, place.settings()) as first:
        asyncio.run(ask(first))
    with LiveServer(place.models, place.settings()) as second:
        for _ in range(20):  # the cost of a lookup is measured first
            asyncio.run(ask(second))
            if second.metric("sparing_rows_total", stopped_by="cache") > PART:
                break
        assert second.metric("sparing_rows_total", stopped_by="cache") > PART


def is_served(server: LiveServer, version: str) -> bool:
    try:
        return bool(server.get_json(f"/v2/models/tiny/versions/{version}"))
    except HTTPError:
        return False


def test_a_changed_model_never_gives_an_answer_of_the_old_one(place: Place, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(place.models, models)

    async def ask(server: LiveServer, right: list[int]) -> None:
        async with RememberedLoad(server, PICTURES, right) as load:
            await load.more(PART)
        assert (load.wrong, load.errors) == (0, [])

    with LiveServer(models, place.settings()) as server:
        asyncio.run(ask(server, place.right))
        new = label(write_dear_route(models, version="2", seed=9), PICTURES)
        assert new != place.right
        wait_until(lambda: is_served(server, "2"), "version 2 is not served")
        asyncio.run(ask(server, new))
    with LiveServer(models, place.settings()) as server:
        for _ in range(20):  # how dear a key is may have to be measured once more
            asyncio.run(ask(server, new))
            if server.metric("sparing_cache_remote_hits_total") > PART:
                break
        assert server.metric("sparing_cache_remote_hits_total") > PART
