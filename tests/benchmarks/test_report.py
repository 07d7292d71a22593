"""The reports hold what the committed result files say, and running them again changes nothing."""

import re
from pathlib import Path

import pytest

from benchmarks.report import REPORTS
from benchmarks.reporting.pages import DOCS, Report, write_report
from harness.results import FOLDER, find_newest, read_results

ROOT = Path(__file__).parents[2]
UNMEASURED = {
    "dual_cnn_cifar10": 2,  # no network of the pool is as accurate as the cascade
    "acm": 2,  # baselines that are not trained
}


@pytest.fixture(autouse=True)
def _stand_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.bench)
def test_a_report_made_again_is_the_same(report: Report, tmp_path: Path) -> None:
    page = DOCS / f"{report.page}.md"
    (tmp_path / page.name).write_text(page.read_text())
    made = write_report(report, find_newest(report.bench, FOLDER), tmp_path)
    assert made.read_text() == page.read_text()
    assert (tmp_path / "img" / f"{report.bench}.png").stat().st_size > 10_000


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.bench)
def test_every_target_is_judged(report: Report) -> None:
    judged = report.judge(read_results(find_newest(report.bench, FOLDER)))
    assert judged
    assert [row.met for row in judged].count(None) == UNMEASURED.get(report.bench, 0)


def test_every_part_of_a_page_is_made_by_a_report() -> None:
    parts = [
        (bench, page.stem)
        for page in DOCS.glob("*.md")
        for bench in re.findall("<!-- measured: (.+) -->", page.read_text())
    ]
    assert sorted(parts) == sorted((report.bench, report.page) for report in REPORTS)
