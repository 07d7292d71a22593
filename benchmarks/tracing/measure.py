"""`python -m benchmarks.tracing`: tracing off, on for one request in a hundred and for every one.

Spans are sent to a collector that throws them away.
"""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving.side_by_side import Start, measure_kinds
from benchmarks.tracing.report import COMPARED, KINDS, REPORT
from harness.results import Sample
from harness.servers import Server, run_sparing
from harness.services.otlp_sink import OtlpSink


def measure_tracing(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every compared case on all kinds of server, and what their collectors got."""
    with ExitStack() as stack:
        sinks = {kind: stack.enter_context(OtlpSink()) for kind in KINDS}
        kinds = {kind: _start_with(kind, sinks) for kind in KINDS}
        samples = measure_kinds(
            kinds, COMPARED, options.runs, options.seconds, console, options.models
        )
        for kind, sink in sinks.items():
            samples.append(Sample(f"collector-{kind}", 0, "batches", sink.batches))
            samples.append(Sample(f"collector-{kind}", 0, "mb", sink.bytes / 1e6))
    return samples


def _start_with(kind: str, sinks: Mapping[str, OtlpSink]) -> Start:
    ratio, endpoint = KINDS[kind], sinks[kind].endpoint

    def start(models: Path, settings: Path, _own: Path) -> AbstractContextManager[Server]:
        text = settings.read_text()
        if ratio is not None:
            text += "[tracing]\nenabled = true\n"
            text += f'sample_ratio = {ratio}\nendpoint = "{endpoint}"\n'
        traced = settings.with_name(f"{settings.stem}-{kind}.toml")
        traced.write_text(text)
        return run_sparing(models, traced)

    return start


def main() -> None:
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_tracing, REPORT, runs=1, seconds=0.5)
