"""Mutated conversations with a real server, on both endpoints.

Right is: every conversation ends within its limit, with an answer of the allowed set or a closed
connection; valid requests in between get the answers that a run without a server gives, to the bit;
the process grows by less than 20 MB, and its log holds no traceback. Exit code 1 otherwise.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvloop

from harness.live_server import LiveServer
from harness.results import FOLDER, write_results
from harness.results import Sample as Number
from harness.text_route import write_text_route
from harness.tiny_routes import write_route
from reliability.fuzz.clients import (
    CLIENTS,
    MAX_FAULTS,
    Fault,
    GridSums,
    Plan,
    read_tally,
    run_fuzz,
)
from reliability.fuzz.mix import make_conversation, make_heavy
from reliability.fuzz.shrink import shrink
from reliability.pace import Pace, Stop, catch_stop
from reliability.samples import Sample, make_samples
from reliability.watch import Watch, find_errors
from reliability.wire.talk import Ports, Talker

SHIPPED = (
    "mnist-cbnet", "fashion-mnist-cbnet", "fashion-mnist-exits", "fashion-mnist", "cifar10",
)  # fmt: skip
SETTINGS = "[cache]\nlimit_bytes = 1048576\n"  # full soon, so that growth is something else
MAX_GROWTH_BYTES = 20 * 2**20
WARM_UP = 500  # heavy conversations, and as many of the mix, before growth is measured
SAVED = Path("runs/reliability/fuzz.json")
SAVE_S = 10.0


@contextmanager
def serve_routes(models: Path) -> Iterator[tuple[LiveServer, list[Sample]]]:
    """A server with cheap shipped routes, a tiny one and one of BYTES, and samples of each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in SHIPPED:
            if (models / name).is_dir():
                shutil.copytree(models / name, root / name)
        write_route(root)
        write_text_route(root)
        samples = make_samples(root, 4)
        with LiveServer(root, SETTINGS) as server:
            yield server, samples


def judge(tally: GridSums, watch: Watch, log: str) -> list[str]:
    """Every fault, one sentence each."""
    found = [f"conversation {one.number} ({one.kind}): {one.sentence}" for one in tally.faults]
    found += watch.failures
    grown = watch.grown_bytes
    if grown >= MAX_GROWTH_BYTES:
        found.append(f"the server grew by {grown / 1e6:.1f} MB")
    found += find_errors(log)
    return found


async def fuzz(
    server: LiveServer,
    samples: Sequence[Sample],
    plan: Plan,
    tally: GridSums,
    stop: Stop,
    saved: Path | None = None,
) -> Watch:
    """Run the plan, print progress, and save the state."""
    pace = Pace(plan.count, plan.first)
    warm = GridSums()

    async def report() -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            grown = watch.grown_bytes / 1e6
            print(
                f"{pace.line(tally.done)}, {len(tally.faults)} faults, {grown:+.1f} MB", flush=True
            )
            if saved is not None:
                tally.save(saved, plan.seed)

    async with Watch(server.process.pid, server.http_port, limit_s=plan.limit_s) as watch:
        ports = Ports(server.http_port, server.grpc_port)
        first = replace(plan, first=0, count=WARM_UP)
        await run_fuzz(first, ports, samples, warm, stop, make_heavy)
        await run_fuzz(replace(first, seed=plan.seed + 1), ports, samples, warm, stop)
        await watch.calm_down()
        reporting = asyncio.create_task(report())
        await run_fuzz(plan, ports, samples, tally, stop)
        reporting.cancel()
    tally.faults += [replace(one, number=-1) for one in warm.faults]
    if saved is not None:
        tally.save(saved, plan.seed)
    return watch


async def show(server: LiveServer, samples: Sequence[Sample], plan: Plan, fault: Fault) -> None:
    """The bytes of the conversation, shortened as long as the fault remains."""
    ports = Ports(server.http_port, server.grpc_port)
    talker = Talker(ports, min(plan.limit_s, 5.0), GridSums().ended)
    conversation = make_conversation(plan.seed, fault.number, samples)
    smaller = await shrink(conversation, fault.sentence, talker.hold)
    talker.close()
    print(
        f"\n{fault.number} ({fault.kind}): {fault.sentence}\n  {smaller.raw[:3000]!r}", flush=True
    )


def write_numbers(tally: GridSums, watch: Watch, seconds: float, log_bytes: int) -> Path:
    numbers = {
        "conversations": tally.done,
        "faults": len(tally.faults),
        "seconds": seconds,
        "growth_mb": watch.grown_bytes / 1e6,
        "highest_mb": max(one.resident_bytes for one in watch.looks) / 1e6,
        "server_cpu_s": watch.looks[-1].cpu_s,
        "livez_p99_ms": float(np.percentile(watch.live_s, 99)) * 1e3 if watch.live_s else 0.0,
        "livez_max_ms": max(watch.live_s, default=0.0) * 1e3,
        "log_bytes": log_bytes,
    }
    rows = [Number("all", 0, name, value) for name, value in numbers.items()]
    rows += [Number(f"kind {name}", 0, "count", n) for name, n in sorted(tally.kinds.items())]
    rows += [Number(f"end {name}", 0, "count", n) for name, n in sorted(tally.ended.items())]
    return write_results("fuzz", "python -m reliability.fuzz", rows, FOLDER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds per conversation")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--faults", type=int, default=MAX_FAULTS, help="stop at this many faults")
    parser.add_argument("--resume", action="store_true", help="resume this seed's run")
    parser.add_argument("--number", type=int, help="run and show one conversation")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    tally = read_tally(SAVED, options.seed) if options.resume else GridSums()
    first = max(0, tally.done - options.clients)  # some of the last were under way
    count = options.conversations
    if options.number is not None:
        first, count = options.number, options.number + 1
    plan = Plan(options.seed, count, first, options.clients, options.limit, options.faults)
    began = time.monotonic()
    with serve_routes(options.models) as (server, samples), catch_stop() as stop:
        watch = uvloop.run(fuzz(server, samples, plan, tally, stop, SAVED))
        seconds = time.monotonic() - began
        log = server.log.read_text(errors="replace")
        faults = judge(tally, watch, log)
        for fault in tally.faults[:5]:
            uvloop.run(show(server, samples, plan, fault))
    if options.write:
        print(f"wrote {write_numbers(tally, watch, seconds, len(log))}")
    print("\n".join(faults[:30]))
    grown = watch.grown_bytes / 1e6
    print(
        f"{'WRONG' if faults else 'right'}: {tally.done:,} conversations in {seconds:,.0f} s,"
        f" {len(faults)} faults, {grown:+.1f} MB, {len(log):,} bytes of log"
    )
    sys.exit(1 if faults else 0)
