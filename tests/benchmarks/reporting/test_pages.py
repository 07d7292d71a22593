"""A page keeps what a person wrote, and its parts are replaced."""

from pathlib import Path

import pytest

from benchmarks.reporting.pages import Report, replace_part, write_report
from benchmarks.reporting.panels import Bars
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Target, value
from harness.results import Sample, write_results

REPORT = Report(
    "toy", "toys", "What toys cost", [Target("CPU", value("toy", "us"), 5, unit="µs")],
    lambda results: [Bars("CPU", ["toy"], {"us": [results.median("toy", "us")]})],
    [Table(plain({"us": "µs"}))],
)  # fmt: skip


def write(folder: Path, number: float) -> str:
    samples = [Sample("toy", run, "us", number) for run in (1, 2)]
    source = write_results("toy", "python -m toys", samples, folder)
    path = write_report(REPORT, source, folder / "reports")
    assert (folder / "reports" / "img" / "toy.png").stat().st_size > 1000
    assert path.name == "toys.md"
    return path.read_text()


def test_a_page_that_is_missing_is_begun(tmp_path: Path) -> None:
    text = write(tmp_path, 4.0)
    assert text.startswith("# What toys cost\n\n<!-- measured: toy -->\n\nMeasured by `python -m")
    assert "Medians of 2 runs" in text and "| CPU | ≤ 5.0 µs | 4.0 µs [4.0–4.0] | met |" in text
    assert "![What toys cost](img/toy.png)" in text and "| toy | 4 |" in text


def test_what_is_written_by_hand_stays(tmp_path: Path) -> None:
    page = tmp_path / "reports" / "toys.md"
    page.parent.mkdir()
    head, tail = "# Toys\n\nCheap.\n\n", "\n\nBy hand.\n"
    page.write_text(f"{head}<!-- measured: toy -->\nold\n<!-- end -->{tail}")
    text = write(tmp_path, 6.0)
    assert text.startswith(head) and text.endswith(tail)
    assert "old" not in text and "**missed**" in text
    assert write(tmp_path, 6.0).count("<!-- end -->") == 1


@pytest.mark.parametrize("part", ["new", r"back\1slash"])
def test_only_the_part_of_its_own_name_is_replaced(part: str) -> None:
    text = "a\n<!-- measured: x -->\n1\n<!-- end -->\n<!-- measured: y -->\n2\n<!-- end -->\n"
    replaced = replace_part(text, "y", part)
    assert "<!-- measured: x -->\n1\n<!-- end -->" in replaced
    assert f"<!-- measured: y -->\n\n{part}\n\n<!-- end -->" in replaced
