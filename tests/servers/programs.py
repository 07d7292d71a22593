"""Programs from Debian's packages that tests run: found, or the test is skipped with a sentence."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}


def find_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: run apt-get install {PACKAGES[name]} as root")
    return found


def run_program(name: str, *arguments: str | Path) -> str:
    """What it says; a failure is an assertion that shows it."""
    done = subprocess.run(
        [find_program(name), *map(str, arguments)],
        env={**os.environ, "GOGC": "800"},  # collecting garbage is a fifth of promtool's time
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
