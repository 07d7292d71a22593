"""`python -m benchmarks.serving.scrape [--before CHECKOUT]`: the cost of a scrape of 50 routes.

Requests go round all routes of a server, which is scraped twice a second meanwhile. Their time from
being sent to the answer is compared between those that overlap a scrape and those that do not. The
CPU time of a scrape is measured without requests. `--before` measures the server of another
checkout in turns with this one. The numbers go to `benchmarks/results/`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, repeat
from pathlib import Path

import numpy as np

from harness.load.traffic import encode_binary
from harness.process_tree import read_cpu_s
from harness.results import Sample, write_results
from harness.servers import Server, run_sparing
from harness.small_cnn import SIZE, write_small_cnn

ROUTES = 50
ACCEPT = {
    "openmetrics": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5",
    "text": "text/plain;version=0.0.4",
}
CONNECTIONS = 2
PAUSE_S = 0.002  # between an answer and the next request: a busy server, not a full one
SCRAPE_INTERVAL_S = 0.5
SCRAPES = 10  # for CPU time, in a row
Span = tuple[float, float]
Figures = dict[str, float]


def write_routes(models: Path) -> list[str]:
    """The small CNN under so many names."""
    names = [f"route-{number}" for number in range(ROUTES)]
    for name in names:
        write_small_cnn(models, route=name)
    return names


def build_requests(names: Sequence[str]) -> list[bytes]:
    """One for each route."""
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    body, head_bytes = encode_binary(picture)
    fields = f"inference-header-content-length: {head_bytes}\r\ncontent-length: {len(body)}"
    return [
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n".encode() + body
        for name in names
    ]


async def ask(port: int, requests: Iterator[bytes], pause_s: float, until: float) -> list[Span]:
    """When each was sent and answered, one after another on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    spans: list[Span] = []
    for request in requests:
        sent = time.perf_counter()
        if sent >= until:
            break
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0]))
        spans.append((sent, time.perf_counter()))
        await asyncio.sleep(pause_s)
    writer.close()
    return spans


async def load(
    port: int, bodies: Sequence[bytes], scrape: bytes, seconds: float
) -> list[list[Span]]:
    """The scrapes' spans, and then those of the requests on each connection."""
    until = time.perf_counter() + seconds
    requests = cycle(bodies)
    return await asyncio.gather(
        ask(port, repeat(scrape), SCRAPE_INTERVAL_S, until),
        *(ask(port, requests, PAUSE_S, until) for _ in range(CONNECTIONS)),
    )


def compare(scrapes: Sequence[Span], requests: Sequence[Span]) -> Figures:
    """Milliseconds of requests during scrapes, and of all others."""
    took: dict[bool, list[float]] = {True: [], False: []}  # by whether it overlaps a scrape
    for sent, answered in requests:
        overlaps = any(sent < end and answered > start for start, end in scrapes)
        took[overlaps].append((answered - sent) * 1e3)
    during, others = (np.percentile(took[overlaps], (50, 99)) for overlaps in (True, False))
    return {
        "scrape_ms": float(np.median([(end - start) * 1e3 for start, end in scrapes])),
        **{"during": len(took[True]), "during_p50_ms": during[0], "during_p99_ms": during[1]},
        **{"others": len(took[False]), "others_p50_ms": others[0], "others_p99_ms": others[1]},
    }


def measure(server: Server, bodies: Sequence[bytes], accept: str, seconds: float) -> Figures:
    """One round: with requests for so long, then scrapes alone for their CPU time."""
    scrape = f"GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n".encode()
    scrapes, *asked = asyncio.run(load(server.http_port, bodies, scrape, seconds))
    figures = compare(scrapes, [span for spans in asked for span in spans])
    before_s = read_cpu_s(server.pid)
    asyncio.run(ask(server.http_port, repeat(scrape, SCRAPES), 0.0, float("inf")))
    return {**figures, "cpu_ms": (read_cpu_s(server.pid) - before_s) * 1e3 / SCRAPES}


def measure_all(checkouts: Mapping[str, Path], rounds: int, seconds: float) -> Iterator[Sample]:
    """All servers run at once; they are measured in turns."""
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        models = Path(work, "models")
        bodies = build_requests(write_routes(models))
        settings = Path(work, "settings.toml")
        settings.write_text("[cache]\nenabled = false\n")
        servers = {
            name: stack.enter_context(run_sparing(models, settings, checkout=checkout))
            for name, checkout in checkouts.items()
        }
        for run in range(rounds):
            for wanted, accept in ACCEPT.items():
                for name, server in servers.items():
                    for metric, value in measure(server, bodies, accept, seconds).items():
                        yield Sample(f"{name}-{wanted}", run, metric, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    options = parser.parse_args()
    checkouts = {"now": Path.cwd()} | ({"before": options.before} if options.before else {})
    samples = list(measure_all(checkouts, options.rounds, options.seconds))
    print(write_results("scrape", "python -m benchmarks.serving.scrape", samples))
    for case, metric in dict.fromkeys((one.case, one.metric) for one in samples):
        found = [one.value for one in samples if (one.case, one.metric) == (case, metric)]
        print(f"{case}: median {metric} {np.median(found):.1f}")


if __name__ == "__main__":
    main()
