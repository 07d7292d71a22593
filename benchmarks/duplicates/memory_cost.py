"""What the cache costs a cascade whose pictures never repeat.

Two servers of the same route, cache on and off, answer the same blocks of pictures in turns, each
picture once; which is first changes from block to block, so that a slow spell of the machine falls
on both. Every run starts both anew, as two processes of one program differ by a few per cent as it
is. CPU is that of each server's process.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import track

from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.load.traffic import Pictures, pack_binary
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import run_servers

OFF, ON = "no repeats, memory off", "no repeats, memory on"
SETTINGS = {OFF: "[cache]\nenabled = false\n", ON: ""}
BLOCK_PICTURES = 500


def measure_memory_cost(
    models: Path, route: str, pictures: Pictures, runs: int, connections: int
) -> Iterator[Sample]:
    """CPU a picture with the cache off and on."""
    console = Console(stderr=True)
    for run in track(range(runs), "memory off and on", console=console):
        found = _measure(models, route, pictures, connections)
        yield from (Sample(case, run, "cpu_us", value) for case, value in found.items())
        console.print(
            f"run {run + 1}/{runs} " + ", ".join(f"{c} {v:.0f}" for c, v in found.items())
        )


def _measure(models: Path, route: str, pictures: Pictures, connections: int) -> dict[str, float]:
    path = f"/v2/models/{route}/infer"
    bodies, headers = pack_binary(pictures)
    spent_s = dict.fromkeys(SETTINGS, 0.0)
    with (
        tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder,
        run_servers(models, SETTINGS, Path(folder)) as servers,
    ):
        for number, start in enumerate(range(0, len(bodies), BLOCK_PICTURES)):
            block = bodies[start : start + BLOCK_PICTURES]
            for name in SETTINGS if number % 2 == 0 else reversed(SETTINGS):
                server = servers[name]
                requests = build_requests(block, server.http_port, path, headers)
                before_s = read_cpu_s(server.pid)
                uvloop.run(ask_once(server.http_port, requests, connections))
                spent_s[name] += read_cpu_s(server.pid) - before_s
    return {name: seconds / len(bodies) * 1e6 for name, seconds in spent_s.items()}
