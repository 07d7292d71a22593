"""`python -m benchmarks.serving.row_profile`: where the CPU time of one row goes.

A server answers requests of 256 rows, or of one row over 32 connections. Its own counter says how
long the device's thread works; the rest of the process's CPU time is the event loop's. `py-spy`
(https://github.com/benfred/py-spy, `pip install py-spy`) then samples the loop's stacks while it
runs Python: each sample counts for the innermost function that a part below names.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from benchmarks.peers.cases import build_case, make_noise
from benchmarks.reporting.command import make_parser
from benchmarks.serving.cases import label_offline
from benchmarks.serving.measure import gather_models, run_load
from harness import small_cnn
from harness.servers import Server, run_servers

# The cache is too small for the pictures, so that no row is found in it.
SETTINGS: Mapping[str, str] = {"on": "[cache]\nlimit_bytes = 300000\n"}

# Part of the work, by file or `function file` of a frame, as py-spy writes them.
PARTS: Mapping[str, Sequence[str]] = {
    "cache: storing": ("put_rows (", "cache/packing.py", "cache/eviction", "cache/local_cache.py"),
    "cache: fingerprints": ("fingerprint", "cache/fingerprint.py", "_begin_row ("),
    "ending batches, delivering": (
        "scheduling/rows/", "_finish_batch (", "_advance (", "_settle (", "engine/calls.py",
        "group_calls.py",
    ),
    "admitting, queueing": (
        "engine/engine.py", "engine/admission.py", "row_sorting.py", "scheduling/lanes.py",
        "scheduling/queues.py", "fair_shares.py", "_begin_call (", "entry_points.py",
    ),
    "choosing and starting batches": ("scheduling/",),
    "metrics": ("monitoring/",),
    "reading requests": (
        "repeated_headers.py", "tensor_body.py", "connection.py", "gathering.py",
        "infer/endpoint.py",
    ),
    "writing replies": ("_write (", "write_rows (", "batch_replies.py", "oip/", "http/status.py",
                        "answering.py", "_answer ("),
}  # fmt: skip
_ORDER = ("writing replies", *(part for part in PARTS if part != "writing replies"))
_REST = "sockets, the loop and the rest"
_OTHER_THREADS = "_bootstrap ("  # the outermost frame


def find_part(stack: Sequence[str]) -> str | None:
    """Return the part of a stack, outermost frame first; None if it is of another thread."""
    if _OTHER_THREADS in stack[0]:
        return None
    for frame in reversed(stack):
        for part in _ORDER:
            if any(one in frame for one in PARTS[part]):
                return part
    return _REST


def read_folded(text: str) -> Counter[str]:
    """Return the samples of each part in py-spy's `raw` output."""
    parts: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, samples = line.rpartition(" ")
        part = find_part(stack.split(";"))
        if part is not None:
            parts[part] += int(samples)
    return parts


def measure(
    options: argparse.Namespace, rows: int, connections: int
) -> tuple[float, float, Counter[str]]:
    """Return the CPU µs of a row, those of the device's thread, and the samples of each part."""
    with tempfile.TemporaryDirectory(prefix="sparing-profile-") as folder:
        work = Path(folder)
        served = gather_models(options.models, work)
        with run_servers(served, SETTINGS, work) as servers:
            server = servers["on"]
            noise = make_noise(4096, small_cnn.SIZE)
            labels = label_offline(served, small_cnn.ROUTE, noise)
            case = build_case("rows", ("on", server), small_cnn.ROUTE, noise, labels,
                              rows=rows, connections=connections)  # fmt: skip
            run_load(case, server, work, 1.0)
            busy_s = _read_busy_s(server)
            told = run_load(case, server, work, options.seconds)
            rows_done = told["requests"] * rows
            device_us = (_read_busy_s(server) - busy_s) * 1e6 / rows_done
            load = threading.Thread(target=run_load, args=(case, server, work, options.seconds + 3))
            load.start()
            time.sleep(1.5)
            folded = work / "stacks"
            command = ["py-spy", "record", "--pid", str(server.pid), "--rate", "400", "--gil",
                       "--duration", str(int(options.seconds)), "--format", "raw",
                       "--full-filenames", "--output", str(folded)]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
            load.join()
            return told["cpu_us"] / rows, device_us, read_folded(folded.read_text())


def _read_busy_s(server: Server) -> float:
    """Return the seconds of the devices so far."""
    with urlopen(f"http://127.0.0.1:{server.http_port}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    name = "sparing_device_busy_seconds_total"
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def main() -> None:
    parser = make_parser(__doc__, runs=1, seconds=8.0)
    options = parser.parse_args()
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    table = Table("part", "256 rows a request, µs a row", "1 row, 32 connections, µs a row")
    measured = [measure(options, rows, connections) for rows, connections in ((256, 8), (1, 32))]
    table.add_row("the device's thread: the network, deciding, collating",
                  *[f"{device_us:.1f}" for _, device_us, _ in measured])  # fmt: skip
    for part in (*PARTS, _REST):
        table.add_row(
            part,
            *[
                f"{(all_us - device_us) * samples[part] / samples.total():.1f}"
                for all_us, device_us, samples in measured
            ],
        )
    table.add_row("all", *[f"{all_us:.1f}" for all_us, _, _ in measured])
    Console().print(table)


if __name__ == "__main__":
    main()
