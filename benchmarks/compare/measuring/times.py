"""What candidates cost end to end: the real server under load, all in turns.

Three loads over HTTP, memory off: `lone`, one picture at a time; `many`, 64 at a time, one a
request; `bulk`, 8 requests of 32 pictures at a time. CPU is that of the server's whole process
tree, device time the server's own count of CPU seconds inside the stages. Right answers are those
of the replay without a server. Load generator and server share the machine.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.compare.measuring.accuracy import BATCH_ROWS
from benchmarks.compare.measuring.candidates import Candidate
from benchmarks.energy.measure import MODEL_SETTINGS, read_source
from benchmarks.energy.report import SOURCES
from benchmarks.serving.cases import Case
from benchmarks.serving.measure import run_load
from harness.load.traffic import Pictures, Traffic, encode_rows, find_label, find_output
from harness.results import Sample
from harness.servers import Server, post, read_metrics, run_sparing, sum_metric
from harness.stage_time import run_stages

BULK_ROWS = 32
CHECKED_ROWS = 64
SAMPLER_S = 0.25  # the server reads its meter every 0.1 s
MILLI, MICRO = 1e3, 1e6


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of load."""

    name: str
    connections: int
    rows: int = 1  # of a request


SHAPES = (Shape("lone", 1), Shape("many", 64), Shape("bulk", 8, BULK_ROWS))


def write_settings(path: Path) -> None:
    """Memory off; joules by the machine's meter, else by the model with its default watts."""
    path.write_text(f"[cache]\nenabled = false\n{MODEL_SETTINGS}")


@dataclass(frozen=True, slots=True)
class Load:
    """Prepared requests of one candidate and shape."""

    candidate: Candidate
    shape: Shape
    case: Case


class LoadRunner:
    """One server with all candidates of a seed, and the loads on it."""

    def __init__(self, server: Server, work: Path, loads: Sequence[Load]) -> None:
        self._server, self._work, self._loads = server, work, loads

    def run(self, run: int, seconds: float, console: Console) -> Iterator[Sample]:
        """Every load once; every other run in reverse order."""
        for load in self._loads if run % 2 == 0 else reversed(self._loads):
            found = self._measure(load, seconds)
            name, shape = load.candidate.name, load.shape.name
            console.print(
                f"run {run} {name:16} {shape:5} {found['cpu_us']:7.1f} µs CPU a picture, "
                f"{found['device_us']:6.1f} in stages"
            )
            for metric, value in found.items():
                yield Sample(name, run, f"{shape}_{metric}", value)

    def _measure(self, load: Load, seconds: float) -> dict[str, float]:
        route, rows = load.candidate.route.manifest.route, load.shape.rows
        if load.shape.name == "bulk":
            wait_for_ledger()  # to enter the load before, which may be another candidate's
        before = read_spent(self._server, route)
        found = run_load(load.case, self._server, self._work, seconds)
        if load.shape.name == "bulk":
            wait_for_ledger()
        spent = {name: value - before[name] for name, value in
                 read_spent(self._server, route).items()}  # fmt: skip
        numbers = {
            "cpu_us": found["cpu_us"] / rows,
            "device_us": spent["device_s"] / spent["rows"] * MICRO,
            "pictures_s": found["requests_s"] * rows,
            "p50_ms": found["p50_ms"],
            "p99_ms": found["p99_ms"],
            "errors": found["errors"],
            "wrong": found["wrong"],
        }
        if load.shape.name == "bulk":
            numbers["mj"] = spent["joules"] / spent["rows"] * MILLI
            numbers["source"] = SOURCES.index(read_source(self._server))
        return numbers


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
        write_settings(work / "settings.toml")
        with run_sparing(models, work / "settings.toml") as server:
            console.print("preparing requests and their right answers ...")
            loads = [load for one in candidates for load in make_loads(one, pictures, server)]
            runner = LoadRunner(server, work, loads)
            for run in runs:
                yield list(runner.run(run, seconds, console))


def make_loads(candidate: Candidate, pictures: Pictures, server: Server) -> list[Load]:
    """All shapes' requests with the replay's answers."""
    replayed = run_stages(candidate.pipeline, pictures, BATCH_ROWS)
    check_replies(candidate, pictures[:CHECKED_ROWS], server)
    path = f"/v2/models/{candidate.route.manifest.route}/infer"
    loads = []
    for shape in SHAPES:
        starts = range(0, len(pictures) - shape.rows + 1, shape.rows)
        encoded = [encode_rows(pictures[at : at + shape.rows]) for at in starts]
        headers = headers_for(encoded[0][1])
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
    answer, fields = post(server.http_port, path, body, headers_for(head_bytes))
    given = {
        name: read_int64(
            answer, int(fields["inference-header-content-length"]), name, len(pictures)
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


def headers_for(head_bytes: int) -> tuple[str, ...]:
    return (
        "content-type: application/octet-stream",
        f"inference-header-content-length: {head_bytes}",
    )


def read_int64(answer: bytes, head_bytes: int, name: str, rows: int) -> np.ndarray:
    start = len(answer) + find_output(answer, head_bytes, name)
    return np.frombuffer(answer, "<i8", rows, start)


def wait_for_ledger() -> None:
    """Until joules of all that was answered are entered."""
    time.sleep(SAMPLER_S)


def read_spent(server: Server, route: str) -> Mapping[str, float]:
    """So far: the route's device seconds and rows, and the joules of rows and overhead."""
    samples = list(read_metrics(server.http_port))
    account = "sparing_energy_account_joules_total"
    return {
        "device_s": sum_metric(samples, "sparing_device_seconds_total", route=route),
        "rows": sum_metric(samples, "sparing_rows_total", route=route),
        "joules": sum(sum_metric(samples, account, account=name) for name in ("rows", "overhead")),
    }
