"""What a failing Redis adds to the latency of a real server: `python -m reliability.redis_faults`.

The server serves the large CIFAR-10 model, whose rows cost more than any lookup; its local cache
has no space, so that every row is looked up in the Redis, which stands behind a proxy that can be
slow. Each fault comes while 4 connections ask for pictures that are in Redis already, and stays
until all are answered. Right before, a server without a remote cache answers the same requests:
added p99 is the difference. Latencies count once the fault is there. Right is an added p99 of at
most the remote cache's timeout, by the median of the runs, with no wrong answer, no error, and
every fault counted. Exit code 1 otherwise.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.load.traffic import Labels, Pictures, pack_binary, read_label
from harness.results import Results, Sample, write_results
from harness.servers import Server, count_spent, run_servers
from harness.services.redis_faults import Harm, fill, heal, kill, pause, restart, slow, spoil
from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy
from harness.stage_time import open_route, run_stages
from training.data.sets import load_data

ROUTE = "cifar10-large"
CONNECTIONS = 4
PICTURES, REQUESTS = 128, 600
HARM_AFTER_S = 0.02  # of load
RECOVERY_LIMIT_S = 60.0
SETTLED_SHARE = 0.9  # of the rows that the remote cache answers when all is well
MOST_ADDED_MS = 10.0  # the default of `cache.remote.timeout_ms`
SECRET = "0123456789abcdef" * 4
COUNTERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "hits": ("sparing_cache_remote_hits_total", {}),
    "counted": ("sparing_cache_remote_errors_total", {}),
}
WITHOUT = "[cache]\nenabled = false\n"
WITH = '[cache]\nlimit_bytes = 1\n[cache.remote]\nurl = "{url}"\nsecret = "{secret}"\n'
FAULTS: Mapping[str, Harm] = {
    "killed": kill,
    "paused": pause,
    "slow, 50 ms": slow,
    "full": fill,
    "holding garbage": spoil,
    "restarted": restart,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Both servers, the Redis, and the load with its right answers."""

    plain: Server
    server: Server
    redis: RedisServer
    proxy: SlowProxy
    pictures: Sequence[Pictures]
    right: Labels


def measure_faults(
    models: Path, pictures: Pictures, runs: int, count: int = REQUESTS
) -> Iterator[Sample]:
    """Every fault `runs` times, on the same two servers."""
    some = pictures[:PICTURES]
    right = run_stages(open_route(models, ROUTE).pipeline, some, 32).labels
    order = np.arange(count) % len(some)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sparing-bench-")))
        redis = stack.enter_context(RedisServer())
        proxy = stack.enter_context(SlowProxy(redis.port))
        url = f"redis://127.0.0.1:{proxy.port}/0"
        settings = {"plain": WITHOUT, "second": WITH.format(url=url, secret=SECRET)}
        servers = stack.enter_context(run_servers(models, settings, folder))
        place = Place(
            servers["plain"], servers["second"], redis, proxy, list(some[order]), right[order]
        )
        settle(place)
        for run in range(runs):
            for fault, harm in FAULTS.items():
                found = measure_fault(place, harm)
                print(f"run {run + 1}/{runs} {fault:16} p99 {found['p99_ms']:6.1f} ms, "
                      f"without {found['plain_p99_ms']:6.1f}", flush=True)  # fmt: skip
                yield from (Sample(fault, run, name, value) for name, value in found.items())


def measure_fault(place: Place, harm: Harm) -> Mapping[str, float]:
    """The same requests without a remote cache, with it, with the fault, and after its repair."""
    without, well = ask(place, place.plain), ask(place, place.server)
    with count_spent(place.server, COUNTERS) as spent:
        hurt = ask(place, place.server, harm)
    heal(place)
    passes = (without, well, hurt, *settle(place))
    return {
        "plain_p99_ms": without["p99_ms"],
        "well_p99_ms": well["p99_ms"],
        "p99_ms": hurt["p99_ms"],
        "slowest_ms": hurt["slowest_ms"],
        "counted": spent["counted"],
        "wrong": sum(one["wrong"] for one in passes),
        "errors": sum(one["errors"] for one in passes),
        "requests": len(place.pictures) * len(passes),
    }


def settle(place: Place) -> list[Mapping[str, float]]:
    """Ask until the remote cache answers; RuntimeError if that takes too long."""
    began, passes = time.perf_counter(), []
    while time.perf_counter() - began < RECOVERY_LIMIT_S:
        with count_spent(place.server, COUNTERS) as spent:
            passes.append(ask(place, place.server))
        if spent["hits"] >= SETTLED_SHARE * len(place.pictures):
            return passes
    raise RuntimeError(f"the remote cache does not answer after {RECOVERY_LIMIT_S:g} s")


def ask(place: Place, server: Server, harm: Harm | None = None) -> Mapping[str, float]:
    """One pass over the requests; the fault comes soon after it began."""
    bodies, headers = pack_binary(place.pictures)
    requests = build_requests(bodies, server.http_port, f"/v2/models/{ROUTE}/infer", headers)
    with ThreadPoolExecutor(1) as pool:
        harming = pool.submit(_harm_soon, place, harm)
        try:
            done = uvloop.run(ask_once(server.http_port, requests, CONNECTIONS))
        except ExceptionGroup as group:
            return {"p99_ms": np.inf, "slowest_ms": np.inf, "wrong": 0,
                    "errors": len(group.exceptions)}  # fmt: skip
        harmed_s = harming.result()
    labels = np.array([read_label(*answer) for answer in done.answers])
    ends_s = np.add(done.asked_s, done.latencies_s)
    late_ms = np.array(done.latencies_s)[ends_s >= harmed_s] * 1e3
    return {"p99_ms": float(np.percentile(late_ms, 99)), "slowest_ms": float(late_ms.max()),
            "wrong": int((labels != place.right).sum()), "errors": 0}  # fmt: skip


def _harm_soon(place: Place, harm: Harm | None) -> float:
    """Wait a little, then cause the fault; the seconds waited."""
    if harm is None:
        return 0.0
    began = time.perf_counter()
    time.sleep(HARM_AFTER_S)
    waited_s = time.perf_counter() - began
    harm(place)
    return waited_s


def judge(results: Results) -> list[str]:
    """What is wrong, in sentences."""
    found = []
    for fault in FAULTS:
        added_ms = np.subtract(
            results.values(fault, "p99_ms"), results.values(fault, "plain_p99_ms")
        )
        if np.median(added_ms) > MOST_ADDED_MS:
            found.append(f"{fault}: p99 grows by {np.median(added_ms):.1f} ms")
        if min(results.values(fault, "counted")) < 1:
            found.append(f"{fault}: no key was counted as an error")
        for metric in ("wrong", "errors"):
            if count := sum(results.values(fault, metric)):
                found.append(f"{fault}: {metric}: {count:.0f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    pictures = load_data("cifar10").test.pictures
    samples = list(measure_faults(options.models, pictures, options.runs))
    if options.write:
        print(write_results("redis_faults", "python -m reliability.redis_faults --write", samples))
    faults = judge(Results({}, samples))
    print("\n".join(faults) or "right")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
