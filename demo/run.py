"""`python -m demo.run`: the server with its dashboards under load, all on this machine.

Starts a Redis, a server that shares its cache there, and a Prometheus with the rules. Replays a
real trace at many times its speed, then runs every query of the dashboards and draws the results.
`demo/traffic.npz` has 2,663 test pictures of Fashion-MNIST (MIT) and the arrival times of the first
4,000 requests of the Mooncake conversation trace (Apache-2.0), each with the picture that stands
for its second block.
"""

import argparse
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console

from demo.page import draw_dashboards
from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.load.traffic import pack_binary
from harness.servers import Server, run_sparing
from harness.services.prometheus_server import PrometheusServer
from harness.services.redis_server import RedisServer
from sparing.report.page import write_page
from sparing.report.reporting import gather, judge, make_tables
from sparing.report.sources import PrometheusSource

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=90.0, help="of load")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    rules = Path(__file__).parents[1] / "dashboards" / "prometheus" / "rules.yml"
    with ExitStack() as stack:
        try:
            redis = stack.enter_context(RedisServer())
            settings = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "settings.toml"
            settings.write_text(SETTINGS.format(url=redis.url, secret=secrets.token_hex(32)))
            server = stack.enter_context(run_sparing(options.models, settings))
            watch = PrometheusServer(rules.read_text(), [f"127.0.0.1:{server.http_port}"], SCRAPE_S)
            prometheus = stack.enter_context(watch)
        except (FileNotFoundError, RuntimeError) as error:
            sys.exit(str(error))
        console.print(f"server http://127.0.0.1:{server.http_port}, Prometheus {prometheus.url}")
        began = time.monotonic()
        asked = replay(server, options.seconds, console)
        time.sleep(3 * SCRAPE_S)
        back_s = time.monotonic() - began
        figures = PrometheusSource(prometheus.url, max(60, round(back_s)))
        routes = gather(figures)
        console.print(*make_tables(routes, figures.span), judge(routes), sep="\n\n")
        write_page(options.out / "report.html", routes, figures)
        empty, panels = draw_dashboards(prometheus.url, back_s, ROUTES[0], options.out)
        firing = sorted({labels["alertname"] for labels in prometheus.firing()})
    console.print(f"{asked:,} requests answered; alerts firing: {', '.join(firing) or 'none'}")
    console.print(
        f"{panels - len(empty)} of {panels} panels have data: {options.out / 'index.html'}"
    )
    console.print(f"without data: {'; '.join(empty) or 'none'}")


def replay(server: Server, seconds: float, console: Console) -> int:
    """Replay the trace in `seconds` seconds. Returns the number of answers; none may fail."""
    with np.load(TRAFFIC, allow_pickle=False) as data:
        pictures, at_ms, picture = data["pictures"], data["at_ms"], data["picture"]
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
    done = uvloop.run(ask_once(server.http_port, requests, CONNECTIONS, due_s.tolist()))
    return len(done.answers)


if __name__ == "__main__":
    main()
