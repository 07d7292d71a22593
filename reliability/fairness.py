"""What a caller with little work feels of a neighbour with much: latency, and deadlines kept.

A real server, three neighbours one after the other, each on an address of its own and on the
victim's: 16 connections of 256 rows on a large route, 64 connections of single rows, and the first
on the victim's route. The victim asks for a single row again and again, half of the time with a
deadline of 500 ms. Right is a p99 of at most 1 s and 99 % of the deadlines kept. Exit code 1
otherwise.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.live_server import LiveServer
from harness.results import Sample, write_results

LARGE, SMALL = "fashion-mnist-large", "fashion-mnist"
VICTIM, NEIGHBOUR = "127.0.0.1", "127.0.0.2"
DEADLINE_MS = 500
MAX_P99_S = 1.0
LEAST_KEPT = 0.99
PAUSE_S = 0.05  # between the victim's requests
WARM_UP_S = 2.0
REFUSED_S = 60.0  # what counts as the latency of a request that was not answered
# Name -> the neighbour's route, connections and rows, and the victim's route.
NEIGHBOURS: dict[str, tuple[str, int, int, str]] = {
    "none": (SMALL, 0, 0, SMALL),
    "large": (LARGE, 16, 256, SMALL),
    "many": (SMALL, 64, 1, SMALL),
    "same route": (LARGE, 16, 256, LARGE),
}


@dataclass
class Felt:
    """What came of the victim's requests."""

    latencies_s: list[float] = field(default_factory=list)
    kept: int = 0
    late: int = 0

    @property
    def p99_s(self) -> float:
        return float(np.quantile(self.latencies_s, 0.99))

    @property
    def share_kept(self) -> float:
        return self.kept / max(1, self.kept + self.late)


def write_request(route: str, rows: int, timeout_ms: int | None, pictures: bytes) -> bytes:
    """A binary infer request that wants its rows computed."""
    parameters: dict[str, object] = {"no_cache": True}
    if timeout_ms is not None:
        parameters["timeout_ms"] = timeout_ms
    entry = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [rows, 28, 28],
        "parameters": {"binary_data_size": len(pictures)},
    }
    header = json.dumps({"inputs": [entry], "parameters": parameters}).encode()
    head = (
        f"POST /v2/models/{route}/infer HTTP/1.1\r\nhost: a\r\n"
        f"inference-header-content-length: {len(header)}\r\n"
        f"content-length: {len(header) + len(pictures)}\r\n\r\n"
    )
    return head.encode() + header + pictures


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """The status of the answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return int(head.split(b" ", 2)[1])


def make_pictures(rows: int) -> bytes:
    return np.random.default_rng(rows).integers(0, 255, rows * 784, dtype=np.uint8).tobytes()


def press(port: int, address: str, route: str, connections: int, rows: int) -> None:
    """The neighbour, in a process of its own, until it is ended."""

    async def one(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        while True:
            if await ask(reader, writer, request) != 200:
                await asyncio.sleep(0.05)

    async def all_of_them() -> None:
        request = write_request(route, rows, None, make_pictures(rows))
        await asyncio.gather(*[one(request) for _ in range(connections)])

    asyncio.run(all_of_them())


async def feel(port: int, route: str, seconds: float) -> Felt:
    """The victim's requests, one after the other."""
    felt = Felt()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(VICTIM, 0))
    pictures = make_pictures(1)
    plain = write_request(route, 1, None, pictures)
    hurried = write_request(route, 1, DEADLINE_MS, pictures)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        status = await ask(reader, writer, plain)
        felt.latencies_s.append(time.monotonic() - began if status == 200 else REFUSED_S)
        if await ask(reader, writer, hurried) == 200:
            felt.kept += 1
        else:
            felt.late += 1
        await asyncio.sleep(PAUSE_S)
    writer.close()
    return felt


def measure(server: LiveServer, name: str, address: str, seconds: float) -> Felt:
    route, connections, rows, victims = NEIGHBOURS[name]
    neighbour = multiprocessing.get_context("spawn").Process(
        target=press, args=(server.http_port, address, route, connections, rows), daemon=True
    )
    neighbour.start()
    try:
        time.sleep(WARM_UP_S)
        return asyncio.run(feel(server.http_port, victims, seconds))
    finally:
        neighbour.kill()
        neighbour.join()
        time.sleep(1.0)  # until the server has noticed


def judge(name: str, felt: Felt) -> list[str]:
    """What is wrong, in sentences."""
    found = []
    if felt.p99_s > MAX_P99_S:
        found.append(f"{name}: p99 {felt.p99_s:.2f} s, allowed {MAX_P99_S:g} s")
    if felt.share_kept < LEAST_KEPT:
        found.append(f"{name}: {felt.share_kept:.1%} of the deadlines kept, least {LEAST_KEPT:.0%}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="time per other caller")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--no-write", action="store_true", help="do not write benchmarks/results/")
    options = parser.parse_args(arguments)
    numbers: list[Sample] = []
    faults: list[str] = []
    with LiveServer(options.models) as server:
        for name in NEIGHBOURS:
            for address in (NEIGHBOUR,) if name == "none" else (NEIGHBOUR, VICTIM):
                felt = measure(server, name, address, options.seconds)
                label = f"{name}, {'same' if address == VICTIM else 'other'} address"
                print(
                    f"{label}: {len(felt.latencies_s)} requests, median"
                    f" {np.median(felt.latencies_s) * 1e3:.1f} ms, p99 {felt.p99_s * 1e3:.0f} ms,"
                    f" {felt.share_kept:.1%} of {felt.kept + felt.late} deadlines kept",
                    flush=True,
                )
                faults += judge(label, felt)
                numbers += [
                    Sample(label, 0, "requests", len(felt.latencies_s)),
                    Sample(label, 0, "median_ms", float(np.median(felt.latencies_s)) * 1e3),
                    Sample(label, 0, "p99_ms", felt.p99_s * 1e3),
                    Sample(label, 0, "deadlines_kept", felt.share_kept),
                ]
    if not options.no_write:
        print(f"wrote {write_results('fairness', 'python -m reliability.fairness', numbers)}")
    print("\n".join(faults) or "right")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
