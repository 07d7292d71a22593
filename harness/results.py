"""Measurements as CSV files, one per benchmark, machine and set of versions.

`#` lines at the top name the command, the time, the machine and the versions. Below is one value
per line, in the order of measurement: case, run, metric, value. Reports are computed only from such
files.
"""

import csv
import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path("benchmarks/results")
QUICK_FOLDER = Path("runs/bench")  # never over real results
PACKAGES = ("onnxruntime", "numpy", "uvicorn", "grpcio")
_COLUMNS = ["case", "run", "metric", "value"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one run of one case."""

    case: str
    run: int
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Results:
    """A file's comments, by name, and its samples."""

    facts: dict[str, str]
    samples: Sequence[Sample]

    def values(self, case: str, metric: str) -> list[float]:
        """Return one value per run, in order. Raises KeyError if the case was not measured."""
        found = sorted(
            (s.run, s.value) for s in self.samples if (s.case, s.metric) == (case, metric)
        )
        if not found:
            raise KeyError(f"{case}: {metric}")
        return [value for _, value in found]

    def median(self, case: str, metric: str) -> float:
        return float(np.median(self.values(case, metric)))

    def cases(self) -> list[str]:
        """In the order first measured."""
        return list(dict.fromkeys(sample.case for sample in self.samples))


def describe_machine() -> dict[str, str]:
    """The facts that make numbers comparable, or not."""
    facts = {
        "cpu": _read_cpu_model(),
        "cores": str(os.cpu_count()),
        "load_average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    return facts | {name: importlib.metadata.version(name) for name in PACKAGES}


def name_results(bench: str, facts: dict[str, str]) -> str:
    """`<bench>-<machine>-<versions>.csv`."""
    machine = f"{_slug(facts['cpu'])}-{facts['cores']}cores"
    versions = "-".join([f"py{facts['python']}", *(f"{name}{facts[name]}" for name in PACKAGES)])
    return f"{bench}-{machine}-{versions}.csv"


def write_results(
    bench: str, command: str, samples: Sequence[Sample], folder: Path = FOLDER
) -> Path:
    """Write the file, over an earlier one of the same machine and versions, and return its path."""
    machine = describe_machine()
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts = {"bench": bench, "command": command, "date": date} | machine
    path = folder / name_results(bench, machine)
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.writelines(f"# {name}: {value}\n" for name, value in facts.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for sample in samples:
            writer.writerow([sample.case, sample.run, sample.metric, f"{sample.value:.6g}"])
    return path


def read_results(path: Path) -> Results:
    """Read a file of `write_results`. Raises ValueError for any other file."""
    lines = path.read_text().splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    facts = dict(line.split(": ", 1) for line in comments)
    rows = csv.DictReader(lines[len(comments) :])
    if rows.fieldnames != _COLUMNS:
        raise ValueError(f"{path}: columns {rows.fieldnames}, expected {_COLUMNS}")
    samples = [
        Sample(row["case"], int(row["run"]), row["metric"], float(row["value"])) for row in rows
    ]
    return Results(facts, samples)


def find_newest(bench: str, folder: Path = FOLDER) -> Path:
    """Find a benchmark's latest file by the date inside. Raises FileNotFoundError if none."""
    files = sorted(folder.glob(f"{bench}-*.csv"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no results of {bench}; run python -m benchmarks.{bench}"
        )
    return max(files, key=lambda path: read_results(path).facts.get("date", ""))


def _read_cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _slug(text: str) -> str:
    text = re.sub(r"\((r|tm)\)|\bcpu\b|@.*", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")
