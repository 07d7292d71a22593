"""`python -m benchmarks.tracing`: tracing off, on for one request in a hundred and for every one.

Spans are sent to a collector that throws them away. The limits are ours.
"""

import argparse
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.tables import LOADS, Table, plain
from benchmarks.reporting.targets import FAULTS, Target, difference, ratio
from benchmarks.serving.side_by_side import WORDS, Start, draw_kinds, measure_kinds
from harness.results import Sample
from harness.servers import Server, run_sparing
from harness.services.otlp_sink import OtlpSink

# The share of requests that is traced, as a case's name ends.
KINDS = {"off": "tracing off", "0.01": "one request in a hundred", "1": "every request"}
COMPARED = ("hit", "small-cnn-http", "small-cnn-grpc", "picture", "cascade")
TRACING = '[tracing]\nenabled = true\nsample_ratio = {ratio}\nendpoint = "{endpoint}"\n'
TARGETS = (
    *(
        Target(f"CPU a request with one in a hundred traced, of tracing off's: {WORDS[case]}",
               ratio(f"{case}-0.01", f"{case}-off", "cpu_us"), 1.05, unit="×", digits=3)
        for case in COMPARED
    ),
    *(
        Target(f"More CPU a request where every one is traced: {WORDS[case]}",
               difference(f"{case}-1", f"{case}-off", "cpu_us"), 250, unit="µs", digits=0)
        for case in COMPARED
    ),
    FAULTS,
)  # fmt: skip
COLUMNS = (*LOADS, *plain({"batches": "batches sent", "mb": "MB sent"}))
REPORT = Report("tracing", "tracing", "What tracing costs", TARGETS, lambda results: [
    draw_kinds(results, "CPU of the server's process a request, µs", "cpu_us", COMPARED, KINDS)
], [Table(COLUMNS)])  # fmt: skip


def measure_tracing(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every compared case on all kinds of server, and what their collectors got."""
    with ExitStack() as stack:
        sinks = {kind: stack.enter_context(OtlpSink()) for kind in KINDS}
        kinds = {kind: _start_with(kind, sink.endpoint) for kind, sink in sinks.items()}
        samples = measure_kinds(
            kinds, COMPARED, options.runs, options.seconds, console, options.models
        )
        for kind, sink in sinks.items():
            samples.append(Sample(f"collector-{kind}", 0, "batches", sink.batches))
            samples.append(Sample(f"collector-{kind}", 0, "mb", sink.bytes / 1e6))
    return samples


def _start_with(kind: str, endpoint: str) -> Start:
    def start(models: Path, settings: Path, _own: Path) -> AbstractContextManager[Server]:
        traced = settings.with_name(f"{settings.stem}-{kind}.toml")
        text = settings.read_text()
        if kind != "off":
            text += TRACING.format(ratio=float(kind), endpoint=endpoint)
        traced.write_text(text)
        return run_sparing(models, traced)

    return start


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_tracing, REPORT, runs=1, seconds=0.5)
