"""`python -m demo.run`: the server with its dashboards under load, all on this machine.

Starts a Redis, a server that shares its cache there, and a Prometheus with the rules. Replays a
real trace at many times its speed, then runs every query of the dashboards and draws the results;
again and again until Ctrl-C, or `--once`. A start page links console, dashboards and report.
`demo/traffic.npz` has 2,663 test pictures of Fashion-MNIST (MIT) and the arrival times of the first
4,000 requests of the Mooncake conversation trace (Apache-2.0), each with the picture that stands
for its second block.
"""

import argparse
import itertools
import secrets
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop
from rich.console import Console

from demo.page import draw_dashboards
from demo.start_page import Link, serve_folder, write_start_page
from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.load.traffic import pack_binary
from harness.servers import Server, run_sparing
from harness.services.prometheus_server import PrometheusServer
from harness.services.redis_server import RedisServer
from harness.waiting import wait_until
from sparing.report.page import write_page
from sparing.report.reporting import gather, judge, make_tables
from sparing.report.sources import PrometheusSource, ServerSource

RULES = Path(__file__).parents[1] / "dashboards" / "prometheus" / "rules.yml"
PAGES = ("dashboards.html", "report.html")
TRAFFIC = Path(__file__).parent / "traffic.npz"
ROUTES = ("fashion-mnist", "fashion-mnist-large")
LARGE_EVERY = 8  # one request in so many uses the large model
CONNECTIONS = 32
SCRAPE_S = 1.0
SETTINGS = """[cache.remote]
url = "{url}"
secret = "{secret}"
[energy]
carbon_grams_per_kwh = 380.0
embodied_grams_per_hour = 2.0
"""


class Running(NamedTuple):
    """What the demo started, and where its pages are."""

    server: Server
    prometheus: PrometheusServer
    folder: Path
    began: float  # of time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--once", action="store_true", help="replay the trace once, then end")
    parser.add_argument("--seconds", type=float, default=90.0, help="of load, each time")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    interrupted = notice_interrupts()
    try:
        with ExitStack() as stack:
            try:
                running = start(stack, options.models, options.out)
            except (FileNotFoundError, RuntimeError) as error:
                sys.exit(str(error))
            show_pages(stack, running, console)
            for number in itertools.count():
                replay(running.server, options.seconds, number, console)
                draw_pages(running, console)
                if options.once:
                    break
    except KeyboardInterrupt:
        pass
    except Exception:
        if not interrupted.is_set():  # else what was stopped together with this process failed
            raise
    if interrupted.is_set():
        console.print("stopped")


def notice_interrupts() -> threading.Event:
    """Return an event that is set from the first Ctrl-C on."""
    interrupted = threading.Event()

    def note(_number: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    return interrupted


def start(stack: ExitStack, models: Path, folder: Path) -> Running:
    """Start Redis, the server and Prometheus. Raises FileNotFoundError or RuntimeError."""
    redis = stack.enter_context(RedisServer())
    settings = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "settings.toml"
    settings.write_text(SETTINGS.format(url=redis.url, secret=secrets.token_hex(32)))
    server = stack.enter_context(run_sparing(models, settings))
    watch = PrometheusServer(RULES.read_text(), [f"127.0.0.1:{server.http_port}"], SCRAPE_S)
    prometheus = stack.enter_context(watch)
    # What was counted before the first reading would be missing from every rate.
    wait_until(lambda: bool(prometheus.query("sparing_rows_total")), "Prometheus reads no metrics")
    return Running(server, prometheus, folder, time.monotonic())


def show_pages(stack: ExitStack, running: Running, console: Console) -> None:
    """Serve the start page, and say where it is."""
    for name in PAGES:
        (running.folder / name).unlink(missing_ok=True)  # of an earlier demo
    list_links(running, "The first pages come after the first pass of the trace.")
    console.print(f"Start page: {stack.enter_context(serve_folder(running.folder))}")
    console.print(f"Console: http://127.0.0.1:{running.server.http_port}/   Ctrl-C ends the demo")


def list_links(running: Running, state: str) -> None:
    """Write the start page with the pages that there are."""
    server = f"http://127.0.0.1:{running.server.http_port}"
    dashboards, report = (name if (running.folder / name).exists() else "" for name in PAGES)
    links = [
        Link("Console", f"{server}/", "Try an input, compare routes, live figures."),
        Link("Dashboards", dashboards, "Every panel of the Grafana dashboards."),
        Link("Report", report, "What each route served, saved and used, as sparing report has it."),
        Link("API", f"{server}/docs", "Every endpoint, with examples."),
        Link("Prometheus", running.prometheus.url, "The numbers behind the dashboards, and rules."),
    ]
    write_start_page(running.folder, links, state)


def draw_pages(running: Running, console: Console) -> None:
    """Draw the dashboards and the report from what was counted since the start."""
    time.sleep(3 * SCRAPE_S)
    back_s = time.monotonic() - running.began
    # Prometheus extrapolates counts; the server's own are exact, and those of the console.
    routes = gather(ServerSource(f"http://127.0.0.1:{running.server.http_port}"))
    figures = PrometheusSource(running.prometheus.url, round(back_s))
    console.print(*make_tables(routes, figures.span), judge(routes), sep="\n\n")
    write_page(running.folder / "report.html", routes, figures)
    empty, panels = draw_dashboards(running.prometheus.url, back_s, ROUTES[0], running.folder)
    firing = sorted({labels["alertname"] for labels in running.prometheus.firing()})
    answered = sum(one.rows for one in routes)
    state = f"{answered:,.0f} requests answered in {back_s:,.0f} s; alerts firing: "
    state += ", ".join(firing) or "none"
    list_links(running, f"{state}.")
    console.print(state)
    console.print(f"{panels - len(empty)} of {panels} panels have data")
    console.print(f"without data: {'; '.join(empty) or 'none'}")


def replay(server: Server, seconds: float, number: int, console: Console) -> None:
    """Replay the trace in `seconds` seconds; no request may fail. A pixel in the corner holds the
    pass's number, for else the cache would answer all of a later pass.
    """
    with np.load(TRAFFIC, allow_pickle=False) as data:
        pictures, at_ms, picture = data["pictures"], data["at_ms"], data["picture"]
    pictures[:, 0, 0] = number % 256
    due_s = at_ms / at_ms[-1] * seconds
    console.print(f"replaying {len(due_s):,} requests of {at_ms[-1] / 60e3:.0f} minutes in "
                  f"{seconds:g} s ...")  # fmt: skip
    packed, headers = pack_binary(pictures)
    bodies = [packed[index] for index in picture]
    requests = [
        build_requests([body], server.http_port, f"/v2/models/{route}/infer", headers)[0]
        for number, body in enumerate(bodies)
        for route in [ROUTES[number % LARGE_EVERY == 0]]
    ]
    uvloop.run(ask_once(server.http_port, requests, CONNECTIONS, due_s.tolist()))


if __name__ == "__main__":
    main()
