"""`python -m benchmarks.gathering`: what it is worth that few survivors wait for company.

Two servers in turns, memory off: one gathers survivors as it does by default, one takes rows in
order of arrival alone. The shipped adaptive routes of Fashion-MNIST, one picture a request from 64
connections (`many`), and 8 requests of 32 pictures at a time (`bulk`).
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.compare_time import Arena, Load, make_loads, write_settings
from benchmarks.contestants import Contestant
from benchmarks.gathering_report import KINDS, ROUTES, SHAPES, name_case
from benchmarks.results import Sample
from benchmarks.servers import Server, read_metrics, run_sparing
from benchmarks.side_by_side import run_benchmark
from benchmarks.stage_time import open_route
from training.data.sets import load_data

DATA = "fashion-mnist"


def measure(models: Path, runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every route and load on both servers, right after one another."""
    pictures = load_data(DATA).test.pictures
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        with _run_servers(models, work) as servers:
            first = servers[KINDS[0]]
            loads = [
                load
                for route in track(ROUTES, "preparing requests", console=console)
                for load in make_loads(open_contestant(models, route), pictures, first)
                if load.shape.name in SHAPES
            ]
            for run in range(runs):
                for load in loads:
                    for kind in KINDS if run % 2 == 0 else reversed(KINDS):
                        console.print(kind, end=": ")
                        server = servers[kind]
                        samples += measure_load(load, kind, server, work, run, seconds, console)
    return samples


def open_contestant(models: Path, name: str) -> Contestant:
    """A shipped route."""
    route = open_route(models, name)
    return Contestant(name, 0, models / name / route.manifest.version, route)


def measure_load(
    load: Load, kind: str, server: Server, work: Path, run: int, seconds: float, console: Console
) -> Iterator[Sample]:
    """What a load costs, and how full the batches behind the first stage were."""
    route = load.contestant
    before = read_batches(server, route)
    found = list(Arena(server, work, [load]).run(run, seconds, console))
    batches, rows = (
        now - then for now, then in zip(read_batches(server, route), before, strict=True)
    )
    case, prefix = name_case(route.name, load.shape.name, kind), f"{load.shape.name}_"
    for sample in found:
        yield Sample(case, run, sample.metric.removeprefix(prefix), sample.value)
    yield Sample(case, run, "survivors_a_batch", rows / batches if batches else 0.0)


def read_batches(server: Server, contestant: Contestant) -> tuple[float, float]:
    """So far, behind the route's first stage: batches, and rows in them."""
    batches = rows = 0.0
    for name, labels, value in read_metrics(server.http_port):
        if labels.get("route") != contestant.name:
            continue
        if labels.get("stage") == contestant.pipeline.first:
            continue
        if name == "sparing_batch_rows_count":
            batches += value
        elif name == "sparing_batch_rows_sum":
            rows += value
    return batches, rows


@contextmanager
def _run_servers(models: Path, work: Path) -> Iterator[Mapping[str, Server]]:
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for kind, more in zip(KINDS, ("", "[engine]\ngather_s = 0\n"), strict=True):
            settings = work / f"{kind.replace(' ', '-')}.toml"
            write_settings(settings)
            settings.write_text(settings.read_text() + more)
            servers[kind] = stack.enter_context(run_sparing(models, settings))
        yield servers


if __name__ == "__main__":
    run_benchmark("gathering", __doc__, measure)
