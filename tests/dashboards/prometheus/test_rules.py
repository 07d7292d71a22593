"""Prometheus' own tools take the rules and the examples, every alert is tested where it fires and
where it does not, and what rules and runbooks ask for exists.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.prometheus.make_rules import make_groups, make_text
from dashboards.prometheus.objectives import Objectives
from dashboards.prometheus.options import Options
from dashboards.prometheus.rules import Alert, Group, Recording, write_rules
from dashboards.prometheus.windows import Windows
from monitoring.metrics.results import CLIENT_ERRORS
from serving.http.status import STATUS
from tests.servers.programs import run_program

ROOT = Path(__file__).parents[3]
PLACE = ROOT / "dashboards" / "prometheus"
UNIT_TESTS = sorted((PLACE / "tests").glob("*.yml"))
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
RULES = [rule for group in make_groups(Options()) for rule in group.rules]
ALERTS = [rule for rule in RULES if isinstance(rule, Alert)]
NAMES = sorted({alert.alert for alert in ALERTS})

# Served, or soon to be, and not yet in docs/metrics.md.


def read_documented() -> set[str]:
    """Names of series: a histogram has three."""
    rows = re.findall(
        r"^\| `(sparing_\w+)` \| (\w+)", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 20
    names = {name for name, kind in rows if kind != "histogram"}
    histograms = [name for name, kind in rows if kind == "histogram"]
    return names | {f"{name}_{end}" for name in histograms for end in ("bucket", "sum", "count")}


def find_unknown(query: str) -> set[str]:
    """What a query asks for that nobody measures or records."""
    recorded = {rule.record for rule in RULES if isinstance(rule, Recording)}
    known = recorded | read_documented()
    return set(re.findall(r"(?:\b\w+:)?sparing_\w+(?::\w+)?", query)) - known


def find_cases() -> Iterator[tuple[str, bool]]:
    """Alerts that promtool's tests ask for, and whether they are to fire."""
    for path in UNIT_TESTS:
        asked = r"alertname: (\w+)\n +exp_alerts:( \[\])?$"
        for name, none in re.findall(asked, path.read_text(), re.MULTILINE):
            yield name, not none


def test_the_file_is_what_the_generator_writes() -> None:
    assert (PLACE / "rules.yml").read_text() == make_text(Options())


@pytest.mark.parametrize("scale", [1, 60, 500])
def test_promtool_takes_the_rules_at_every_scale(scale: float, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(
        make_text(Options(Windows(scale), Objectives(0.95, 0.9, 1.0), "it's", "http://a/"))
    )
    assert f"SUCCESS: {len(RULES)} rules found" in run_program("promtool", "check", "rules", path)


def test_promtool_takes_the_example_of_a_configuration() -> None:
    assert "SUCCESS" in run_program("promtool", "check", "config", PLACE / "prometheus.yml")


def test_amtool_takes_the_example_of_an_alertmanager() -> None:
    said = run_program("amtool", "check-config", PLACE / "alertmanager.yml")
    assert "SUCCESS" in said
    assert "2 receivers" in said


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_each_severity_has_its_receiver(severity: str) -> None:
    config = f"--config.file={PLACE / 'alertmanager.yml'}"
    said = run_program("amtool", "config", "routes", "test", config, f"severity={severity}")
    assert said.splitlines()[0] == severity


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_and_recordings_do_on_made_up_series_what_they_should(path: Path) -> None:
    assert "SUCCESS" in run_program("promtool", "test", "rules", path)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_where_it_fires_and_where_it_does_not(name: str) -> None:
    cases = set(find_cases())
    assert (name, True) in cases
    assert (name, False) in cases


def test_every_name_in_the_rules_is_measured_or_recorded() -> None:
    for rule in RULES:
        assert find_unknown(rule.expr) == set(), rule


def test_a_name_that_nobody_measures_is_found() -> None:
    assert find_unknown("rate(sparing_request_total[5m])") == {"sparing_request_total"}
    assert find_unknown("job_route:sparing_rows:rate6m") == {"job_route:sparing_rows:rate6m"}


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_runbooks_say_what_it_means_what_to_look_at_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What it means", "What to look at", "What to do"]
    for code in re.findall(r"`([^`]+)`", text):
        assert find_unknown(code) == set()


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_promtool_takes_the_queries_of_runbooks(page: Path, tmp_path: Path) -> None:
    rows = re.findall(r"^\| .+\? \| (.+) \|$", page.read_text(), re.MULTILINE)
    queries = [query for row in rows for query in re.findall(r"`([^`]+)`", row)]
    assert len(queries) >= 2
    path = tmp_path / "queries.yml"
    recordings = [Recording(f"query_{n}", query) for n, query in enumerate(queries)]
    path.write_text(write_rules([Group("queries", "1m", recordings)], []))
    assert f"{len(queries)} rules found" in run_program("promtool", "check", "rules", path)


def test_every_alert_leads_to_its_runbook_and_no_page_is_left_over() -> None:
    for alert in ALERTS:
        assert alert.annotations["runbook_url"] == f"docs/runbooks/{alert.alert}.md"
        assert alert.labels["severity"] in {"page", "ticket"}
    assert [page.stem for page in RUNBOOKS] == NAMES
    elsewhere = make_groups(Options(runbooks="https://git.example/main/"))[-1].rules[-1]
    assert isinstance(elsewhere, Alert)
    link = elsewhere.annotations["runbook_url"]
    assert link == "https://git.example/main/docs/runbooks/SparingAbsent.md"


def test_the_page_on_alerts_names_each_with_its_severity() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\S+\) \| (\w+) \|", text, re.MULTILINE))
    severities = {
        name: {alert.labels["severity"] for alert in ALERTS if alert.alert == name}
        for name in NAMES
    }
    assert rows == {
        name: "both" if len(found) == 2 else next(iter(found)) for name, found in severities.items()
    }


def test_only_what_is_answered_with_4xx_but_429_and_callers_who_left_are_not_our_fault() -> None:
    theirs = {error.__name__ for error, status in STATUS.items() if status < 500 and status != 429}
    assert set(CLIENT_ERRORS) == theirs | {"ClientGone"}
