"""`python -m benchmarks.workers`: `sparing serve --workers 2` beside one process, in turns.

The limits are ours.
"""

import argparse

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, ratio
from benchmarks.serving.side_by_side import WORDS, Start, draw_kinds, measure_kinds
from harness.results import Sample
from harness.servers import run_sparing

CHANNELS = 8  # a gRPC channel is one connection, which one worker serves
KINDS = {"1": "one process", "2": "2 workers"}  # as a case's name ends
COMPARED = ("hit", "small-cnn-http", "small-cnn-grpc", "picture", "lone-http", "cascade", "large")
PLOTTED = {
    "cpu_us": "CPU of the whole process tree a request, µs",
    "requests_s": "requests/s, load generator on the same two cores",
}
TARGETS = (
    *(
        Target(f"CPU a request with two workers, of one's: {WORDS[case]}",
               ratio(f"{case}-2", f"{case}-1", "cpu_us"), 1.25, unit="×", digits=2)
        for case in COMPARED
    ),
    Target("Requests/s with two workers, of one's: the large model",
           ratio("large-2", "large-1", "requests_s"), at_least=1.2, unit="×", digits=2),
    FAULTS,
)  # fmt: skip
REPORT = Report("workers", "workers", "What a second worker costs and brings", TARGETS,
                lambda results: [draw_kinds(results, title, metric, COMPARED, KINDS)
                                 for metric, title in PLOTTED.items()],
                [Table(LOADS)])  # fmt: skip


def measure_workers(options: argparse.Namespace, console: Console) -> list[Sample]:
    return measure_kinds(
        {kind: _start_with(int(kind)) for kind in KINDS},
        COMPARED, options.runs, options.seconds, console, options.models, CHANNELS,
    )  # fmt: skip


def _start_with(workers: int) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, workers)


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_workers, REPORT, runs=1, seconds=0.5)
