"""A benchmark's command line: what is recorded, where it is written, how it ends."""

import argparse
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import DOCS, Report
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import FAULTS
from harness.results import FOLDER, QUICK_FOLDER, Sample, read_results

REPORT = Report("toy", "toys", "Toys", [FAULTS], lambda _: [], [Table(plain({"us": "µs"}))])


@pytest.fixture(autouse=True)
def _stand_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.reporting.pages.draw", lambda panels, path: None)


def run(monkeypatch: pytest.MonkeyPatch, wrong: float, *arguments: str) -> argparse.Namespace:
    seen: list[argparse.Namespace] = []

    def measure(options: argparse.Namespace, console: Console) -> list[Sample]:
        seen.append(options)
        return [Sample("toy", 1, "us", 2.0), Sample("toy", 1, "wrong", wrong)]

    monkeypatch.setattr(sys, "argv", ["toy", *arguments])
    Path(DOCS).mkdir(parents=True)
    Path(QUICK_FOLDER).mkdir(parents=True)
    run_benchmark(make_parser("", seconds=3.0), measure, REPORT, runs=1, seconds=0.5)
    return seen[0]


def test_a_run_records_its_options_and_writes_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, 0, "--seconds", "1.5")
    (written,) = Path(FOLDER).glob("toy-*.csv")
    assert read_results(written).facts["command"].endswith(" --runs 5 --seconds 1.5")
    assert (DOCS / "toys.md").exists()


def test_a_quick_run_is_short_and_never_over_real_results(monkeypatch: pytest.MonkeyPatch) -> None:
    options = run(monkeypatch, 0, "--quick")
    assert (options.runs, options.seconds) == (1, 0.5)
    (written,) = Path().rglob("*.csv")
    assert written.parent == QUICK_FOLDER
    assert read_results(written).facts["command"].endswith(" --quick")
    assert not (DOCS / "toys.md").exists()


def test_wrong_answers_end_it_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"^2 answers were errors or wrong"):
        run(monkeypatch, 2)


def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(options: argparse.Namespace, console: Console) -> list[Sample]:
        raise FileNotFoundError("no such data")

    monkeypatch.setattr(sys, "argv", ["toy"])
    with pytest.raises(SystemExit, match=r"^no such data$"):
        run_benchmark(make_parser(""), measure, REPORT)
