"""Without the data set a benchmark ends at once, in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["benchmarks.serving", "--quick"],
        ["benchmarks.dual_cnn", "--quick"],
        ["benchmarks.similar", "--quick"],
        ["benchmarks.workers", "--quick"],
        ["benchmarks.tracing", "--quick"],
        ["benchmarks.compare", "--quick"],
        ["sparing.cli", "compare", "--only", "measure"],
        ["benchmarks.exits", "--quick"],
        ["sparing.cli", "bench", "serving"],
    ],
)
def test_a_missing_data_set_is_one_sentence_before_anything_starts(
    command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "SPARING_DATA": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert "SPARING_DATA must hold fashion-mnist/train-images" in line
    assert done.returncode == 1
    assert done.stdout == ""
