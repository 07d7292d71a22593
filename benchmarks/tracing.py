"""`python -m benchmarks.tracing`: tracing off, on for one request in a hundred and for every one.

Spans are sent to a collector that throws them away. The numbers go to `benchmarks/results/`, the
comparison to `docs/reports/tracing.md`.
"""

import argparse
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from rich.console import Console

from benchmarks.otlp_sink import OtlpSink
from benchmarks.pictures import load_pictures
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, Sample, write_results
from benchmarks.servers import Server, run_sparing
from benchmarks.side_by_side import Start, measure_kinds
from benchmarks.tracing_report import COMPARED, KINDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="one run of 0.5 s, into runs/bench/")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, options.seconds)
    command = "python -m benchmarks.tracing" + (
        " --quick" if options.quick else f" --runs {runs} --seconds {seconds:g}"
    )
    try:
        load_pictures()  # before any server starts
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    samples = measure_tracing(options.models, runs, seconds, Console(stderr=True))
    path = write_results("tracing", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("tracing", path, QUICK_FOLDER if options.quick else DOCS))
    faults = sum(s.value for s in samples if s.metric in ("errors", "wrong"))
    if faults:
        sys.exit(f"{faults:.0f} answers were errors or wrong; the results say in which cases")


def measure_tracing(models: Path, runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every compared case on all kinds of server, and what their collectors got."""
    with ExitStack() as stack:
        sinks = {kind: stack.enter_context(OtlpSink()) for kind in KINDS}
        kinds = {kind: _start_with(kind, sinks) for kind in KINDS}
        samples = measure_kinds(kinds, COMPARED, runs, seconds, console, models)
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


if __name__ == "__main__":
    main()
