"""Alerts of a real Prometheus, at a sixtieth of their time and faster: a fault is really caused on
a real server, the alert fires, and clears when the fault is over.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.prometheus_server import PrometheusServer
from benchmarks.redis_server import RedisServer
from core.devices import CpuDevice
from monitoring.prometheus.make_rules import make_text
from monitoring.prometheus.options import Options
from monitoring.prometheus.windows import Windows
from routes.loading import load_route
from routes.offline import run_offline
from tests.live import LiveServer
from tests.load import BODIES, PICTURES, SLOW_WIDTH
from tests.programs import find_program
from tests.raw_http import RawClient
from tests.tiny_routes import write_route
from tests.workers import wait_until

pytestmark = pytest.mark.slow
SLOWER_WIDTH = 16 * SLOW_WIDTH  # the large stage takes 10 ms and more a row
PATIENCE_S = 90.0
ANSWERED = "job_route:sparing_rows:rate5m > 0"
SIXTEEN_SECONDS_AGO = 'sparing_rows_total{stopped_by="confidence"} offset 16s > 0'
SECRET = "0123456789abcdef" * 4


def wait_long(happened: Callable[[], bool], what: str) -> None:
    wait_until(happened, what, PATIENCE_S)


class Asking(threading.Thread):
    """Callers in a closed loop on a thread of its own: `with Asking(server, clients):`."""

    def __init__(self, server: LiveServer, clients: int, bodies: Sequence[bytes] = BODIES) -> None:
        super().__init__()
        self._port = server.http_port
        self._clients = clients
        self._bodies = bodies
        self._over = False
        self.statuses: set[int] = set()
        self.error: BaseException | None = None

    def __enter__(self) -> "Asking":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        self.join(30.0)
        assert self.error is None, self.error

    def run(self) -> None:
        try:
            asyncio.run(self._ask_all())
        except BaseException as error:
            self.error = error

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask(offset) for offset in range(self._clients)))

    async def _ask(self, index: int) -> None:
        async with RawClient(self._port) as client:
            while not self._over:
                body = self._bodies[index % len(self._bodies)]
                self.statuses.add((await client.post("/v2/models/tiny/infer", body)).status)
                index += 1


@contextmanager
def watch(server: LiveServer, scale: float = 60) -> Iterator[PrometheusServer]:
    find_program("prometheus")
    rules = make_text(Options(Windows(scale)))
    with PrometheusServer(rules, [address_of(server)], scrape_interval_s=0.25) as prometheus:
        wait_long(lambda: bool(prometheus.query("sparing_build_info")), "nothing is scraped")
        yield prometheus


def address_of(server: LiveServer) -> str:
    return f"127.0.0.1:{server.http_port}"


def find(prometheus: PrometheusServer, **labels: str) -> list[Mapping[str, str]]:
    """Firing alerts that carry these labels."""
    return [found for found in prometheus.firing() if labels.items() <= found.items()]


def wait_for(prometheus: PrometheusServer, **labels: str) -> None:
    wait_long(lambda: bool(find(prometheus, **labels)), f"{labels} does not fire")


def wait_for_end(prometheus: PrometheusServer, **labels: str) -> None:
    wait_long(lambda: not find(prometheus, **labels), f"{labels} does not clear")


def test_a_redis_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[0.9])
    bodies = [body.replace(b'"no_cache": true', b'"no_cache": false') for body in BODIES]
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        remote = f'[memory.remote]\nurl = "{redis.url}"\nsecret = "{SECRET}"\n'
        settings = f"[memory]\nlimit_bytes = 1\n{remote}"  # every row is asked of the second tier
        server = stack.enter_context(LiveServer(tmp_path, settings))
        prometheus = stack.enter_context(watch(server))
        asking = stack.enter_context(Asking(server, 4, bodies))
        wait_long(lambda: redis.keys() != [], "nothing is stored")
        assert find(prometheus, alertname="SparingRedisDown") == []
        redis.kill()
        wait_for(prometheus, alertname="SparingRedisDown", severity="ticket")
        redis.start()
        wait_for_end(prometheus, alertname="SparingRedisDown")
        assert asking.statuses == {200}


@pytest.mark.parametrize(
    ("settings", "clients", "alertname", "statuses"),
    [
        ("[engine]\nmax_queued_rows = 8\n", 24, "SparingAvailabilityBurn", {200, 429}),
        ("", 64, "SparingLatencyBurn", {200}),
    ],
    ids=["is refused", "is slow"],
)
def test_more_than_can_be_computed(
    tmp_path: Path, settings: str, clients: int, alertname: str, statuses: set[int]
) -> None:
    write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[1.0], max_batch=1)
    with LiveServer(tmp_path, settings) as server, watch(server) as prometheus:
        with Asking(server, 1):
            wait_long(lambda: bool(prometheus.query(ANSWERED)), "nothing is counted")
            assert find(prometheus, alertname=alertname) == []
        with Asking(server, clients) as asking:
            wait_for(prometheus, alertname=alertname, severity="page", window="1h", route="tiny")
        assert asking.statuses == statuses
        with Asking(server, 1):
            wait_for_end(prometheus, alertname=alertname, severity="page", window="1h")


def test_a_server_that_is_killed_and_one_that_takes_its_place(tmp_path: Path) -> None:
    write_route(tmp_path)
    with LiveServer(tmp_path) as server, watch(server) as prometheus:
        wait_for_end(prometheus)  # before the first scrape none was there
        server.kill()
        wait_for(prometheus, alertname="SparingAbsent", severity="page")
        wait_for(prometheus, alertname="SparingInstanceDown", instance=address_of(server))
        server.start()
        prometheus.watch([address_of(server)])
        wait_for_end(prometheus)


def split_by_hardness(directory: Path) -> tuple[list[bytes], list[bytes]]:
    """Bodies of pictures that the first stage is sure of, and of the others."""
    route = load_route(directory, CpuDevice())
    easy: list[bytes] = []
    hard: list[bytes] = []
    rows = run_offline(route.pipeline, {"image": PICTURES}, CpuDevice())
    for row, body in zip(rows, BODIES, strict=True):
        (easy if len(row.stages) == 1 else hard).append(body)
    return easy, hard


def test_only_hard_pictures_after_easy_ones(tmp_path: Path) -> None:
    easy, hard = split_by_hardness(write_route(tmp_path))
    assert easy and hard
    alert = {"alertname": "SparingExitMixShift", "severity": "ticket", "route": "tiny"}
    with LiveServer(tmp_path) as server, watch(server, scale=360) as prometheus:
        with Asking(server, 1, easy):
            # An hour is 10 s at this scale: so long that the hour's mix is not the day's.
            wait_long(lambda: len(prometheus.query(SIXTEEN_SECONDS_AGO)) > 0, "too little history")
            assert find(prometheus, **alert) == []
        with Asking(server, 1, hard):
            wait_for(prometheus, **alert)
        with Asking(server, 1, easy):
            wait_for_end(prometheus, **alert)
