"""`make demo`'s command leaves a page whose panels have data, and the report beside it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.live_server import ROOT

GENERATION = (
    "Time to first token",
    "Time per token",
    "Tokens",
    "Visual tokens kept",
    "Prefill and decode",
)


@pytest.mark.slow
def test_the_demo_leaves_its_pages(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.run", "--seconds", "12", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4,000 requests answered" in done.stdout
    printed = " ".join(done.stdout.split())
    found = re.search(r"(\d+) of (\d+) panels have data", printed)
    assert found is not None
    empty = set(printed.rpartition("without data: ")[2].split("; "))
    assert int(found[2]) - int(found[1]) == len(empty)
    # None of the demo's routes answers in tokens.
    assert empty - {"Sparing: Fleet, Failed requests"} == {
        f"Sparing: Route, {title}" for title in GENERATION
    }
