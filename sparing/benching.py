"""Runs benchmarks. They are not part of the installed packages, so each runs as its own process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sparing.failure import Failure

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {
    "serving": "benchmarks.serving",
    "peers": "benchmarks.peers",
    "dual-cnn": "benchmarks.dual_cnn",
    "duplicates": "benchmarks.duplicates",
    "similar": "benchmarks.similar",
    "bento": "benchmarks.bento",
    "eviction": "benchmarks.eviction",
    "remote": "benchmarks.remote",
    "workers": "benchmarks.workers",
    "energy": "benchmarks.energy",
    "tracing": "benchmarks.tracing",
    "exits": "benchmarks.exits",
    "scaling": "benchmarks.scaling",
    "own-models": "benchmarks.own_models",
    "acm": "benchmarks.acm",
    "pyramid-drop": "benchmarks.pyramid_drop",
}


def bench(names: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the named benchmarks in order, or all if none is named. A failure does not stop the rest.

    Returns the first exit code that is not 0. Raises Failure outside a clone of the repository.
    """
    if not (ROOT / "benchmarks").is_dir():
        raise Failure(f"{ROOT}: no benchmarks here; run them from a clone of the repository")
    jobs = [(name, arguments) for name in names or BENCHMARKS]
    if not names:  # of both data sets
        jobs.append(("dual-cnn", [*arguments, "--data", "cifar10"]))
    failed = 0
    for name, options in jobs:
        command = [sys.executable, "-m", BENCHMARKS[name], *options]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        failed = failed or code
    return failed
