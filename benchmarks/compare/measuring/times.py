"""What candidates cost end to end: the real server under load, all in turns.

Three loads over HTTP, memory off: `lone`, one picture at a time; `many`, 64 at a time, one a
request; `bulk`, 8 requests of 32 pictures at a time. CPU is that of the server's whole process
tree, device time the server's own count of CPU seconds inside the stages. Right answers are those
of the replay without a server. Load generator and server share the machine.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.compare.measuring.candidates import Candidate
from benchmarks.compare.measuring.replay import BATCH_ROWS
from benchmarks.energy import MODEL_SETTINGS, NO_CACHE, SOURCES, read_source
from benchmarks.serving.cases import Case
from benchmarks.serving.measure import run_load
from harness.load.traffic import (
    Pictures,
    Traffic,
    encode_rows,
    find_label,
    find_output,
    list_headers,
)
from harness.results import Sample
from harness.servers import Server, count_spent, post, run_sparing
from harness.stage_time import run_stages

BULK_ROWS = 32
CHECKED_ROWS = 64
SAMPLER_S = 0.25  # the server reads its meter every 0.1 s
MILLI, MICRO = 1e3, 1e6
# Joules by the machine's meter, else by the model with its default watts.
SERVER_SETTINGS = NO_CACHE + MODEL_SETTINGS


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of load."""

    name: str
    connections: int
    rows: int = 1  # of a request


SHAPES = (Shape("lone", 1), Shape("many", 64), Shape("bulk", 8, BULK_ROWS))


@dataclass(frozen=True, slots=True)
class Load:
    """Prepared requests of one candidate and shape."""

    candidate: Candidate
    shape: Shape
    case: Case


def measure_times(
    candidates: Sequence[Candidate],
    models: Path,
    pictures: Pictures,
    runs: Sequence[int],
    seconds: float,
    console: Console,
) -> Iterator[list[Sample]]:
    """The samples of each run, one after the other. Raises RuntimeError where the server's first
    answers are not those of the replay.
    """
    with tempfile.TemporaryDirectory(prefix="sparing-compare-") as folder:
        work = Path(folder)
        settings = work / "settings.toml"
        settings.write_text(SERVER_SETTINGS)
        with run_sparing(models, settings) as server:
            console.print("preparing requests and their right answers ...")
            loads = [load for one in candidates for load in make_loads(one, pictures, server)]
            for run in runs:
                samples: list[Sample] = []
                for load in loads if run % 2 == 0 else reversed(loads):
                    samples += measure_load(load, server, run, work, seconds, console)
                yield samples


def measure_load(
    load: Load, server: Server, run: int, work: Path, seconds: float, console: Console
) -> Iterator[Sample]:
    name, shape, rows = load.candidate.name, load.shape.name, load.shape.rows
    bulk = shape == "bulk"
    if bulk:
        wait_for_ledger()  # to enter the load before, which may be another candidate's
    labels, account = {"route": load.candidate.route.manifest.route}, "sparing_energy_account"
    counters = {
        "device_s": ("sparing_device_seconds_total", labels),
        "rows": ("sparing_rows_total", labels),
        "own_j": (f"{account}_joules_total", {"account": "rows"}),
        "overhead_j": (f"{account}_joules_total", {"account": "overhead"}),
    }
    with count_spent(server, counters) as spent:
        found = run_load(load.case, server, work, seconds)
        if bulk:
            wait_for_ledger()
    numbers = {
        "cpu_us": found["cpu_us"] / rows,
        "device_us": spent["device_s"] / spent["rows"] * MICRO,
        "pictures_s": found["requests_s"] * rows,
        **{metric: found[metric] for metric in ("p50_ms", "p99_ms", "errors", "wrong")},
    }
    if bulk:
        numbers["mj"] = (spent["own_j"] + spent["overhead_j"]) / spent["rows"] * MILLI
        numbers["source"] = SOURCES.index(read_source(server))
    console.print(
        f"run {run} {name:16} {shape:5} {numbers['cpu_us']:7.1f} µs CPU a picture, "
        f"{numbers['device_us']:6.1f} in stages"
    )
    for metric, value in numbers.items():
        yield Sample(name, run, f"{shape}_{metric}", value)


def make_loads(candidate: Candidate, pictures: Pictures, server: Server) -> list[Load]:
    """All shapes' requests with the replay's answers."""
    replayed = run_stages(candidate.pipeline, pictures, BATCH_ROWS)
    check_replies(candidate, pictures[:CHECKED_ROWS], server)
    path = f"/v2/models/{candidate.route.manifest.route}/infer"
    loads = []
    for shape in SHAPES:
        starts = range(0, len(pictures) - shape.rows + 1, shape.rows)
        encoded = [encode_rows(pictures[at : at + shape.rows]) for at in starts]
        headers = list_headers(encoded[0][1])
        answer, fields = post(server.http_port, path, encoded[0][0], headers)
        labels = replayed.labels.astype("<i8")
        traffic = Traffic(
            [body for body, _ in encoded],
            [labels[at : at + shape.rows].tobytes() for at in starts],
            find_label(answer, int(fields["inference-header-content-length"])),
        )
        name = f"{candidate.name}-{shape.name}"
        case = Case(name, "", shape.connections, traffic, path, headers)
        loads.append(Load(candidate, shape, case))
    return loads


def check_replies(candidate: Candidate, pictures: Pictures, server: Server) -> None:
    """RuntimeError unless replies tell the labels and the executed MACs of the replay."""
    path = f"/v2/models/{candidate.route.manifest.route}/infer"
    body, head_bytes = encode_rows(pictures, ("label", "macs"))
    answer, fields = post(server.http_port, path, body, list_headers(head_bytes))
    head_bytes = int(fields["inference-header-content-length"])
    given = {
        name: np.frombuffer(
            answer, "<i8", len(pictures), len(answer) + find_output(answer, head_bytes, name)
        )
        for name in ("label", "macs")
    }
    replayed = run_stages(candidate.pipeline, pictures, len(pictures))
    macs = sum(replayed.macs.values())
    if given["label"].tolist() != replayed.labels.tolist() or int(given["macs"].sum()) != macs:
        raise RuntimeError(
            f"{candidate.name}: the server answers {given['macs'].sum()} MACs and labels "
            f"{given['label'][:8]} ..., the replay {macs} and {replayed.labels[:8]} ..."
        )


def wait_for_ledger() -> None:
    """Until joules of all that was answered are entered."""
    time.sleep(SAMPLER_S)
