"""`make demo`'s command leaves a page whose panels have data, and the report beside it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.live_server import ROOT


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
    found = re.search(r"(\d+) of (\d+) panels have data", done.stdout)
    assert found is not None
    assert int(found[1]) >= int(found[2]) - 1
    assert done.stdout.strip().endswith(
        ("without data: none", "without data: Sparing: Fleet, Failed requests")
    )
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") > 10 and "href=report.html" in page
    assert "the full model alone would have used" in (tmp_path / "report.html").read_text()
