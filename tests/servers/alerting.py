"""A real Prometheus with our rules that watches a live server, callers that load it, and waiting
for alerts.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from dashboards.prometheus.make_rules import make_text
from dashboards.prometheus.options import Options
from dashboards.prometheus.windows import Windows
from harness.live_server import LiveServer
from harness.services.prometheus_server import PrometheusServer
from harness.waiting import wait_until
from tests.clients.load import BODIES
from tests.clients.raw_http import RawClient
from tests.servers.programs import find_program

PATIENCE_S = 90.0
THINKING_S = 0.02  # of a caller between two requests; without it they take a core for nothing


def wait_long(happened: Callable[[], bool], what: str) -> None:
    wait_until(happened, what, PATIENCE_S)


class Asking(threading.Thread):
    """Callers on a thread of its own, one request a time each: `with Asking(server, 4):`."""

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
        self.join(60.0)
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
                await asyncio.sleep(THINKING_S)


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
