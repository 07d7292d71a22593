"""What reading a meter and keeping the ledger costs a server, idle and under load; and a scrape."""

import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.serving import cases as case_list
from benchmarks.serving.measure import run_load
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import Server, run_servers, run_sparing
from harness.services.fake_rapl import FakeRapl
from harness.small_cnn import ROUTE, write_small_cnn

ROUNDS = 6
ROUTES = 50
SCRAPES = 40


def measure_cost(served: Path, work: Path, seconds: float, console: Console) -> Iterator[Sample]:
    """CPU with and without a meter, in turns; the time of a scrape of many routes."""
    off = '[cache]\nenabled = false\n[energy]\nsource = "none"\n'
    with FakeRapl(work / "sys-cost", 10.0, 5.0) as meter, ExitStack() as stack:
        on = f'[cache]\nenabled = false\n[energy]\nsysfs = "{meter.root}"\n'
        settings = {"meter off": off, "meter on": on}
        servers = stack.enter_context(run_servers(served, settings, work))
        plain = {"no-memory": servers["meter off"], "default": servers["meter off"]}
        case = next(
            one for one in case_list.build_http_cases(plain, served) if one.name == "small-cnn-http"
        )
        for run in range(ROUNDS):
            for name in servers if run % 2 == 0 else reversed(servers):
                idle = _idle_percent(servers[name], seconds / 2)
                cpu_us = run_load(case, servers[name], work, seconds / 2)["cpu_us"]
                console.print(f"run {run + 1}/{ROUNDS} {name}: idle {idle:.2f} %, {cpu_us:.1f} µs")
                yield Sample(name, run, "idle_cpu_percent", idle)
                yield Sample(name, run, "cpu_us", cpu_us)
    yield from _measure_scrape(work, console)


def _idle_percent(server: Server, seconds: float) -> float:
    cpu_s, began = read_cpu_s(server.pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (read_cpu_s(server.pid) - cpu_s) / (time.monotonic() - began)


def _measure_scrape(work: Path, console: Console) -> Iterator[Sample]:
    """Of a server with so many routes."""
    many = work / "many"
    write_small_cnn(work / "one")
    for number in range(ROUTES):
        folder = many / f"route-{number}"
        shutil.copytree(work / "one" / ROUTE, folder)
        manifest = folder / "1" / "route.toml"
        manifest.write_text(manifest.read_text().replace(f'"{ROUTE}"', f'"route-{number}"'))
    settings = work / "scrape.toml"
    settings.write_text("")
    with run_sparing(many, settings) as server:
        times_ms = []
        for _ in range(SCRAPES):
            began = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics") as answer:
                size = len(answer.read())
            times_ms.append((time.perf_counter() - began) * 1e3)
    console.print(f"a scrape of {ROUTES} routes: {np.median(times_ms):.1f} ms, {size} bytes")
    yield Sample(f"scrape of {ROUTES} routes", 0, "p50_ms", float(np.median(times_ms)))
    yield Sample(f"scrape of {ROUTES} routes", 0, "bytes", size)
