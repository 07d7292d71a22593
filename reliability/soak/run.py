"""Mixed load on a real server for an hour and more, every answer checked.

Several routes, both endpoints, every form of request, deadlines, budgets, minimal confidences,
slow clients, clients that leave, streams, and a change of the models directory every minute, at
half of what the machine can do. Right is: no answer is wrong, none is lost, and memory, files and
threads stay level after the warm-up. Exit code 1 otherwise.
"""

import argparse
import asyncio
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop

from harness.live_server import LiveServer
from harness.results import Sample as Number
from harness.results import write_results
from reliability.pace import Stop, catch_stop
from reliability.samples import make_samples
from reliability.soak.asks import SURENESS, Pool
from reliability.soak.clients import Soaked, ask_for
from reliability.soak.reloads import Reloads
from reliability.watch import (
    Held,
    Watch,
    find_errors,
    growth_bytes,
    slope_bytes_h,
)
from reliability.wire.talk import Ports

ROUTES = (
    "fashion-mnist", "fashion-mnist-large", "fashion-mnist-exits", "fashion-mnist-cbnet",
    "mnist-cbnet", "cifar10",
)  # fmt: skip
ADDING = ("fashion-mnist-exits", "fashion-mnist-cbnet", "mnist-cbnet")  # small, and alike
SETTINGS = "[cache]\nlimit_bytes = 4194304\n"
SHARE = 0.5  # of the measured capacity
CAPACITY_S = 10.0
MAX_SLOPE_BYTES_H = 5e6
MAX_GROWTH_BYTES = 20e6  # where the run is too short for a slope
LEAST_MINUTES = 20.0  # after the warm-up, for a slope
MAX_MORE_FILES, MAX_MORE_THREADS = 32, 8
MAX_REFUSED = 0.001  # share of all requests
LINES = Path("runs/reliability/soak.csv")
COLUMNS = (
    "minute", "asked", "faults", "refused", "p50_ms", "p99_ms", "resident_mb", "files", "threads",
    "server_cpu_s", "change",
)  # fmt: skip


async def soak(
    server: LiveServer, pool: Pool, reloads: Reloads, minutes: float, soaked: Soaked, stop: Stop
) -> Watch:
    """Measure the capacity, then send load for this many minutes; one line of figures a minute."""
    ports = Ports(server.http_port, server.grpc_port)
    first = Soaked()
    await ask_for(CAPACITY_S, None, ports, pool, first, stop)
    soaked.faults += first.faults
    rate = SHARE * first.asked / CAPACITY_S
    print(f"capacity {first.asked / CAPACITY_S:,.0f} requests/s, asking {rate:,.0f}/s", flush=True)

    async def report(watch: Watch) -> None:
        minute = 0
        while True:
            change = await asyncio.to_thread(reloads.step)
            await asyncio.sleep(60.0)
            minute += 1
            write_line(minute, soaked, watch.looks[-1], change)
            print(
                f"{minute} of {minutes:g} min; {describe(soaked, watch.looks[-1])}; {change}",
                flush=True,
            )

    async with Watch(server.process.pid, server.http_port) as watch:
        reporting = asyncio.create_task(report(watch))
        await ask_for(minutes * 60, rate, ports, pool, soaked, stop)
        reporting.cancel()
        await asyncio.sleep(1.0)
    return watch


def describe(soaked: Soaked, held: Held) -> str:
    return (
        f"{soaked.asked:,} asked, {len(soaked.faults)} faults, {soaked.refused} refused,"
        f" {held.resident_bytes / 1e6:.0f} MB, {held.files} files, {held.threads} threads"
    )


def write_line(minute: int, soaked: Soaked, held: Held, change: str) -> None:
    """Append to the lines of this run."""
    p50_s, p99_s = soaked.end_minute()
    LINES.parent.mkdir(parents=True, exist_ok=True)
    with LINES.open("w" if minute == 1 else "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if minute == 1:
            writer.writerow(COLUMNS)
        numbers = (soaked.asked, len(soaked.faults), soaked.refused)
        times = (round(p50_s * 1e3, 2), round(p99_s * 1e3, 2))
        state = (round(held.resident_bytes / 1e6, 1), held.files, held.threads, held.cpu_s)
        writer.writerow([minute, *numbers, *times, *state, change])


def judge(soaked: Soaked, watch: Watch, log: str, warm_up_s: float) -> list[str]:
    """Every fault, one sentence each."""
    found = [f"request {one.number} ({one.kind}): {one.sentence}" for one in soaked.faults]
    found += watch.failures
    found += judge_levels(watch.looks, warm_up_s)
    if soaked.refused > MAX_REFUSED * soaked.asked:
        found.append(f"{soaked.refused} of {soaked.asked} requests were refused")
    found += find_errors(log)
    return found


def judge_levels(looks: Sequence[Held], warm_up_s: float) -> list[str]:
    """Memory, files and threads after the warm-up."""
    found: list[str] = []
    slope = slope_bytes_h(looks, warm_up_s)
    grown = growth_bytes(looks, warm_up_s)
    if looks[-1].at_s - warm_up_s < LEAST_MINUTES * 60:
        if grown >= MAX_GROWTH_BYTES:
            found.append(f"the server grew by {grown / 1e6:.1f} MB")
    elif slope >= MAX_SLOPE_BYTES_H:
        found.append(f"the server grows by {slope / 1e6:.1f} MB an hour")
    after = [one for one in looks if one.at_s >= warm_up_s]
    third = max(1, len(after) // 3)
    for name, limit in (("files", MAX_MORE_FILES), ("threads", MAX_MORE_THREADS)):
        first, last = (
            float(np.median([getattr(one, name) for one in part]))
            for part in (after[:third], after[-third:])
        )
        if last - first > limit:
            found.append(f"the server held {first:.0f} {name}, and {last:.0f} at the end")
    return found


def write_numbers(soaked: Soaked, watch: Watch, warm_up_s: float) -> Path:
    quarter = max(1, len(soaked.minutes_p99_s) // 4)
    p99_s = soaked.minutes_p99_s or [0.0]
    numbers = {
        "minutes": watch.looks[-1].at_s / 60,
        "asked": soaked.asked,
        "faults": len(soaked.faults),
        "refused": soaked.refused,
        "slope_mb_h": slope_bytes_h(watch.looks, warm_up_s) / 1e6,
        "growth_mb": growth_bytes(watch.looks, warm_up_s) / 1e6,
        "p99_first_ms": float(np.median(p99_s[:quarter])) * 1e3,
        "p99_last_ms": float(np.median(p99_s[-quarter:])) * 1e3,
        "livez_max_ms": max(watch.live_s, default=0.0) * 1e3,
        "files": watch.looks[-1].files,
        "threads": watch.looks[-1].threads,
        "server_cpu_s": watch.looks[-1].cpu_s,
    }
    rows = [Number("all", 0, name, value) for name, value in numbers.items()]
    rows += [Number(f"kind {name}", 0, "count", n) for name, n in sorted(soaked.kinds.items())]
    rows += [Number(f"end {name}", 0, "count", n) for name, n in sorted(soaked.ended.items())]
    return write_results("soak", "python -m reliability.soak", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, help="minutes; a sixth of the run, at most 10")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    warm_up = min(10.0, options.minutes / 6) if options.warm_up is None else options.warm_up
    soaked = Soaked()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, catch_stop() as stop:
        root, spare = Path(folder) / "models", Path(folder) / "spare"
        spare.mkdir()
        for name in ROUTES:
            shutil.copytree(options.models / name, root / name)
        pool = {
            least: make_samples(root, 12, controls={"min_confidence": least} if least else {})
            for least in SURENESS
        }
        reloads = Reloads(root, spare, ADDING)
        reloads.fill()
        with LiveServer(root, SETTINGS) as server:
            watch = uvloop.run(soak(server, pool, reloads, options.minutes, soaked, stop))
            faults = judge(soaked, watch, server.log.read_text(errors="replace"), warm_up * 60)
            code = server.stop(60.0)
    if code:
        faults.append(f"the server ended with {code}")
    if options.write:
        print(f"wrote {write_numbers(soaked, watch, warm_up * 60)}")
    print("\n".join(faults[:30]))
    slope = slope_bytes_h(watch.looks, warm_up * 60) / 1e6
    print(
        f"{'WRONG' if faults else 'right'}: {(time.monotonic() - began) / 60:.1f} min,"
        f" {describe(soaked, watch.looks[-1])}, {slope:+.1f} MB an hour"
    )
    sys.exit(1 if faults else 0)
