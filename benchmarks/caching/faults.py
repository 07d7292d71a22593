"""What a failing Redis does to the answers of a real server under load.

The server serves the large CIFAR-10 model, whose rows are dearer than any look-up; its first tier
has no room, so that every row is asked of the Redis, which stands behind a proxy that can be slow.
Each fault comes while 4 connections ask for pictures that are in Redis already, and stays until
all are answered; then it is healed under the same load. Right before, a server without a second
tier answers the same requests: added p99 is the difference. Latencies count once the fault is
there.
"""

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console

from benchmarks.duplicates.measure import read_label
from harness.load.loadgen import build_requests
from harness.load.once import Pass, ask_once
from harness.load.traffic import Labels, Pictures, pack_binary
from harness.results import Sample
from harness.servers import Server, read_metrics, run_servers, sum_metric
from harness.services.redis_faults import Harm, fill, heal, kill, pause, restart, slow, spoil
from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy
from harness.stage_time import open_route, run_stages

ROUTE = "cifar10-large"
CONNECTIONS = 4
PICTURES, REQUESTS = 128, 600
QUICK_REQUESTS = 200
HARM_AFTER_S = 0.02  # of load
RECOVERY_LIMIT_S = 20.0
SECRET = "0123456789abcdef" * 4
HITS = "sparing_cache_remote_hits_total"
ERRORS = "sparing_cache_remote_errors_total"
WITHOUT = "[cache]\nenabled = false\n"
WITH = '[cache]\nlimit_bytes = 1\n[cache.remote]\nurl = "{url}"\nsecret = "{secret}"\n'


@dataclass(frozen=True, slots=True)
class Place:
    """Both servers, the Redis, and the load with its right answers."""

    plain: Server
    server: Server
    redis: RedisServer
    proxy: SlowProxy
    pictures: Sequence[Pictures]
    right: Labels


FAULTS: Mapping[str, Harm] = {
    "killed": kill,
    "paused": pause,
    "slow, 50 ms": slow,
    "full": fill,
    "holding garbage": spoil,
    "restarted": restart,
}


def measure_faults(
    models: Path, pictures: Pictures, runs: int, *, quick: bool = False
) -> Iterator[Sample]:
    """Every fault `runs` times, on the same two servers."""
    console = Console(stderr=True)
    some = pictures[:PICTURES]
    right = run_stages(open_route(models, ROUTE).pipeline, some, 32).labels
    requests = QUICK_REQUESTS if quick else REQUESTS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sparing-bench-")))
        redis = stack.enter_context(RedisServer())
        proxy = stack.enter_context(SlowProxy(redis.port))
        url = f"redis://127.0.0.1:{proxy.port}/0"
        settings = {"plain": WITHOUT, "second": WITH.format(url=url, secret=SECRET)}
        servers = stack.enter_context(run_servers(models, settings, folder))
        order = [index % len(some) for index in range(requests)]
        place = Place(
            servers["plain"],
            servers["second"],
            redis,
            proxy,
            [some[i] for i in order],
            right[order],
        )
        for run in range(runs):
            for fault, harm in FAULTS.items():
                found = measure_fault(place, harm)
                console.print(f"run {run + 1}/{runs} {fault:16} p99 {found['p99_ms']:6.1f} ms, "
                              f"without {found['plain_p99_ms']:6.1f}; back in "
                              f"{found['recovery_s']:.2f} s")  # fmt: skip
                yield from (Sample(fault, run, name, value) for name, value in found.items())


def measure_fault(place: Place, harm: Harm) -> Mapping[str, float]:
    """The same requests without a second tier, with a well one, with the fault, and healing."""
    settle(place)
    without = ask(place, place.plain)
    well = ask(place, place.server)
    counted = _sum(place.server, ERRORS)
    hurt = ask(place, place.server, harm)
    counted = _sum(place.server, ERRORS) - counted
    recovery_s, later = recover(place)
    passes = (without, well, hurt, *later)
    return {
        "plain_p99_ms": without.p99_ms,
        "well_p99_ms": well.p99_ms,
        "p99_ms": hurt.p99_ms,
        "slowest_ms": hurt.slowest_ms,
        "recovery_s": recovery_s,
        "counted": counted,
        "wrong": sum(one.wrong for one in passes),
        "errors": sum(one.errors for one in passes),
        "requests": len(place.pictures) * len(passes),
    }


def settle(place: Place) -> None:
    """Ask until the second tier answers everything; RuntimeError if that takes too long."""
    began = time.perf_counter()
    while time.perf_counter() - began < RECOVERY_LIMIT_S:
        hits = _sum(place.server, HITS)
        ask(place, place.server)
        if _sum(place.server, HITS) - hits >= len(place.pictures):
            return
    raise RuntimeError(f"the second tier does not answer everything after {RECOVERY_LIMIT_S:g} s")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one pass of load."""

    p99_ms: float = float("inf")
    slowest_ms: float = float("inf")
    wrong: int = 0
    errors: int = 0


def ask(place: Place, server: Server, harm: Harm | None = None) -> Asked:
    """One pass over the requests, harmed soon after it began."""
    with ThreadPoolExecutor(1) as pool:
        harming = pool.submit(_harm_soon, place, harm) if harm else None
        try:
            done = uvloop.run(_ask(server, place.pictures))
        except ExceptionGroup as group:
            done, failed = None, len(group.exceptions)
        harmed_s = harming.result() if harming else 0.0
    if done is None:
        return Asked(errors=failed)
    labels = np.array([read_label(*answer) for answer in done.answers])
    ends_s = np.add(done.asked_s, done.latencies_s)
    late_ms = np.array(done.latencies_s)[ends_s >= harmed_s] * 1e3
    return Asked(
        p99_ms=float(np.percentile(late_ms, 99)),
        slowest_ms=float(late_ms.max()),
        wrong=int((labels != place.right).sum()),
    )


def _harm_soon(place: Place, harm: Harm) -> float:
    """Seconds after which it begins."""
    began = time.perf_counter()
    time.sleep(HARM_AFTER_S)
    waited_s = time.perf_counter() - began
    harm(place)
    return waited_s


async def _ask(server: Server, pictures: Sequence[Pictures]) -> Pass:
    bodies, headers = pack_binary(pictures)
    path = f"/v2/models/{ROUTE}/infer"
    requests = build_requests(bodies, server.http_port, path, headers)
    return await ask_once(server.http_port, requests, CONNECTIONS)


def recover(place: Place) -> tuple[float, list[Asked]]:
    """Heal it under load: seconds until an answer is found there, which one that has been empty
    must have stored before; and the passes made. inf: not within RECOVERY_LIMIT_S.
    """
    heal(place)
    began, used = time.perf_counter(), _sum(place.server, HITS)
    recovered_s = float("inf")

    def watch() -> None:
        nonlocal recovered_s
        while time.perf_counter() - began < RECOVERY_LIMIT_S:
            if _sum(place.server, HITS) > used:
                recovered_s = time.perf_counter() - began
                return
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    passes = [ask(place, place.server)]
    while watching.is_alive():
        passes.append(ask(place, place.server))
    return recovered_s, [*passes, ask(place, place.server)]


def _sum(server: Server, name: str) -> float:
    return sum_metric(read_metrics(server.http_port), name)
