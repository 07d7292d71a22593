"""The command line of a benchmark: options, progress, result file, report, exit code."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.reporting.pages import DOCS, Report, write_report
from core.errors import SparingError
from harness.results import FOLDER, QUICK_FOLDER, Sample, write_results

Measure = Callable[[argparse.Namespace, Console], Iterable[Sample]]
_NOT_RECORDED = ("cifar_nets", "models", "pool", "quick", "traces", "triton_python")


def make_parser(
    about: str | None, runs: int | None = 5, seconds: float | None = None
) -> argparse.ArgumentParser:
    """What the benchmarks take alike; None: this one has no such option."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    if runs is not None:
        parser.add_argument("--runs", type=int, default=runs)
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help="of each load")
    parser.add_argument(
        "--quick", action="store_true", help="one short run on few inputs, into runs/bench/"
    )
    return parser


def run_benchmark(
    parser: argparse.ArgumentParser,
    measure: Measure,
    report: Report | Callable[[argparse.Namespace], Report],
    **quick: object,
) -> None:
    """Measure, then write the result file and the report. `quick` replaces options in a quick run.
    Ends with one sentence where something is missing, or where answers were errors or wrong.
    """
    options = parser.parse_args()
    if options.quick:
        vars(options).update(quick)
    try:
        samples = list(measure(options, Console(stderr=True)))
    except (SparingError, RuntimeError, ValueError, OSError) as error:
        sys.exit(str(error))
    found = report(options) if callable(report) else report
    print(publish(found, describe(_find_module(), options), samples, quick=options.quick))
    if faults := sum(s.value for s in samples if s.metric in found.fault_metrics):
        sys.exit(f"{faults:.0f} answers were errors or wrong; the results say in which cases")


def _find_module() -> str:
    """What `python -m` was told to run."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else "benchmarks"


def describe(module: str, options: argparse.Namespace) -> str:
    """The command that makes these numbers again."""
    given = [f"--{key} {value:g}" if isinstance(value, float) else f"--{key} {value}"
             for key, value in vars(options).items()
             if key not in _NOT_RECORDED and value is not None]  # fmt: skip
    return " ".join([f"python -m {module}", *(["--quick"] if options.quick else given)])


def publish(report: Report, command: str, samples: Sequence[Sample], *, quick: bool) -> Path:
    """Quick results never go over real ones."""
    source = write_results(report.bench, command, samples, QUICK_FOLDER if quick else FOLDER)
    return write_report(report, source, QUICK_FOLDER if quick else DOCS)
