"""Alerts of a real Prometheus, at a sixtieth of their time and faster: a fault is really caused on
a real server, the alert fires, and clears when the fault is over.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.services.redis_server import RedisServer
from harness.tiny_routes import write_route
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.load import BODIES, PICTURES, SLOW_WIDTH, body_with
from tests.fakes.stalling import make_staller, write_stalling_route
from tests.servers.alerting import (
    Asking,
    address_of,
    find,
    wait_for,
    wait_for_end,
    wait_long,
    watch,
)

pytestmark = pytest.mark.slow
METRICS = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
SLOWER_WIDTH = 16 * SLOW_WIDTH  # the large stage takes 10 ms and more a row
REMEMBERED = [body.replace(b'"no_cache": true', b'"no_cache": false') for body in BODIES]
ANSWERED = "job_route:sparing_rows:rate5m > 0"
SIXTEEN_SECONDS_AGO = "sparing_rows_total offset 16s > 0"
SECRET = "0123456789abcdef" * 4
CALLERS = 8  # so many that 200 rows in five seconds, which alerts need, come on a busy machine too


def needs(metric: str) -> pytest.MarkDecorator:
    """A test of a metric that no server tells yet is skipped."""
    return pytest.mark.skipif(f"`{metric}`" not in METRICS, reason=f"no server tells {metric} yet")


def test_a_redis_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[0.9])
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        remote = f'[cache.remote]\nurl = "{redis.url}"\nsecret = "{SECRET}"\n'
        settings = f"[cache]\nlimit_bytes = 1\n{remote}"  # every row is asked of the second tier
        server = stack.enter_context(LiveServer(tmp_path, settings))
        prometheus = stack.enter_context(watch(server))
        asking = stack.enter_context(Asking(server, 4, REMEMBERED))
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


@needs("sparing_waiting_rows")
def test_a_queue_that_is_full(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOWER_WIDTH, thresholds=[1.0], max_batch=1)
    alert = {"alertname": "SparingQueueSaturated", "severity": "page", "route": "tiny"}
    settings = "[engine]\nmax_queued_rows = 40\n"
    with LiveServer(tmp_path, settings) as server, watch(server) as prometheus:
        assert find(prometheus, **alert) == []
        with Asking(server, 64):
            wait_for(prometheus, **alert)
        wait_for_end(prometheus, **alert)


@needs("sparing_waiting_rows")
def test_a_device_that_stalls(tmp_path: Path) -> None:
    write_stalling_route(tmp_path)
    staller = body_with(make_staller())
    alert = {"alertname": "SparingRouteStalled", "severity": "page", "route": "tiny"}
    with LiveServer(tmp_path) as server, watch(server) as prometheus, Asking(server, 4):
        wait_long(lambda: bool(prometheus.query(ANSWERED)), "nothing is counted")
        assert find(prometheus, **alert) == []
        with Asking(server, 1, [staller]):
            wait_for(prometheus, **alert)
        wait_for_end(prometheus, **alert)


class TickingPackage(threading.Thread):
    """A processor's energy counter as the kernel shows it: `with TickingPackage(sysfs):`."""

    def __init__(self, sysfs: Path) -> None:
        super().__init__()
        self.folder = sysfs / "class" / "powercap" / "intel-rapl:0"
        self.folder.mkdir(parents=True)
        (self.folder / "name").write_text("package-0\n")
        (self.folder / "max_energy_range_uj").write_text("262143328850\n")
        (self.folder / "energy_uj").write_text("0\n")
        self._over = threading.Event()

    def __enter__(self) -> "TickingPackage":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join(10.0)

    def run(self) -> None:
        energy_uj = 0
        while not self._over.wait(0.01):
            energy_uj += 100_000
            with suppress(FileNotFoundError):  # hidden just now
                next_file = self.folder / "energy_uj.next"
                next_file.write_text(f"{energy_uj}\n")
                next_file.replace(self.folder / "energy_uj")


@needs("sparing_energy_degraded")
def test_an_energy_meter_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    write_route(tmp_path / "models")
    sysfs = tmp_path / "sys"
    alert = {"alertname": "SparingEnergySourceDegraded", "severity": "ticket"}
    with ExitStack() as stack:
        package = stack.enter_context(TickingPackage(sysfs))
        settings = f'[energy]\nsysfs = "{sysfs}"\n'
        server = stack.enter_context(LiveServer(tmp_path / "models", settings))
        prometheus = stack.enter_context(watch(server))
        assert find(prometheus, **alert) == []
        hidden = package.folder.rename(tmp_path / "hidden")
        wait_for(prometheus, **alert)
        hidden.rename(package.folder)
        wait_for_end(prometheus, **alert)


def split_by_hardness(directory: Path) -> tuple[list[bytes], list[bytes]]:
    """Bodies of pictures that the first stage is sure of, and of the others."""
    route = load_route(directory, OnnxDevice())
    easy: list[bytes] = []
    hard: list[bytes] = []
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice())
    for row, body in zip(rows, BODIES, strict=True):
        (easy if len(row.stages) == 1 else hard).append(body)
    return easy, hard


def test_only_hard_pictures_after_easy_ones(tmp_path: Path) -> None:
    easy, hard = split_by_hardness(write_route(tmp_path))
    assert easy and hard
    check_change(tmp_path, "SparingExitMixShift", easy, hard)


def test_memory_that_is_not_asked_any_more(tmp_path: Path) -> None:
    write_route(tmp_path)
    check_change(tmp_path, "SparingCacheHitCollapse", REMEMBERED, BODIES)


def check_change(
    models: Path, alertname: str, usual: Sequence[bytes], others: Sequence[bytes]
) -> None:
    """Other pictures than the usual ones are noticed, until the usual ones come again."""
    alert = {"alertname": alertname, "severity": "ticket", "route": "tiny"}
    with LiveServer(models) as server, watch(server, scale=360) as prometheus:
        with Asking(server, CALLERS, usual):
            # An hour is 10 s at this scale: so long that the hour's mix is not the day's.
            wait_long(lambda: bool(prometheus.query(SIXTEEN_SECONDS_AGO)), "too little history")
            assert find(prometheus, **alert) == []
        with Asking(server, CALLERS, others):
            wait_for(prometheus, **alert)
        with Asking(server, CALLERS, usual):
            wait_for_end(prometheus, **alert)
