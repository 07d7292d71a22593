"""`python -m benchmarks.serving.devices`: two devices at work at once, against one.

Two routes with a net of at least 10 ms a row are asked over several connections each. In one server
both run on the same device, in the other each has its own; both are ONNX Runtime on the CPU with
one thread. They are measured in turns. What counts is the ratio of rows a second within a round,
which cannot exceed the number of free cores. The numbers go to `benchmarks/results/`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import numpy as np

from benchmarks.serving.conv_nets import make_conv_net
from benchmarks.serving.onnx_time import measure_onnx
from benchmarks.serving.scrape import ask
from harness.load.traffic import encode_binary
from harness.results import Sample, write_results
from harness.servers import Server, run_sparing
from harness.tiny_routes import SIZE, write_route

ROUTES = ("first", "second")
CONNECTIONS = 3  # for each route
LAYERS = [(64, 1)] * 18  # more than 10 ms a row, with little memory
SETTINGS = {
    "one": "[cache]\nenabled = false\n",
    "two": '[cache]\nenabled = false\n[devices.other]\n[routes.devices]\nsecond = "other"\n',
}


def write_routes(models: Path) -> float:
    """Write both routes; return what a row of one takes without a server, in ms."""
    for seed, route in enumerate(ROUTES):
        directory = write_route(
            models, route, pipeline="single", nets=[make_conv_net((SIZE, SIZE), LAYERS, seed)]
        )
    return measure_onnx(directory / "stage0.onnx", [1], 1.0)[1]["p50_ms"]


async def load(server: Server, seconds: float) -> float:
    """Return rows a second of both routes together."""
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    body, head_bytes = encode_binary(picture)
    fields = f"inference-header-content-length: {head_bytes}\r\ncontent-length: {len(body)}"
    began = time.perf_counter()
    asked = [
        ask(
            server.http_port,
            repeat(
                f"POST /v2/models/{route}/infer HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n".encode()
                + body
            ),
            0.0,
            began + seconds,
        )
        for route in ROUTES
        for _ in range(CONNECTIONS)
    ]
    answers = sum([len(spans) for spans in await asyncio.gather(*asked)])
    return answers / (time.perf_counter() - began)


def measure_all(rounds: int, seconds: float) -> Iterator[Sample]:
    """Both servers run at once; they are measured in turns."""
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        models = Path(work, "models")
        yield Sample("net", 0, "row_ms", write_routes(models))
        servers = {}
        for name, text in SETTINGS.items():
            settings = Path(work, f"{name}.toml")
            settings.write_text(text)
            servers[name] = stack.enter_context(run_sparing(models, settings))
        for run in range(rounds):
            for name, server in servers.items():
                yield Sample(f"{name}-devices", run, "rows_s", asyncio.run(load(server, seconds)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each server in a round")
    options = parser.parse_args()
    samples = list(measure_all(options.rounds, options.seconds))
    print(write_results("devices", "python -m benchmarks.serving.devices", samples))
    print(f"a row takes {samples[0].value:.1f} ms without a server")
    one, two = (
        np.array([sample.value for sample in samples if sample.case == f"{name}-devices"])
        for name in SETTINGS
    )
    ratios = two / one
    print(f"rows a second: {np.median(one):.1f} with one device, {np.median(two):.1f} with two")
    print(f"two / one: median {np.median(ratios):.2f}, {ratios.min():.2f} to {ratios.max():.2f}")


if __name__ == "__main__":
    main()
