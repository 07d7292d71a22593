"""Every panel's query brings data on a real Prometheus that scrapes all documented metrics."""

import math
import time
from collections.abc import Iterator

import pytest

from dashboards.grafana.asking import QueryError, Source
from dashboards.grafana.questions import FOLDER, PanelQuery, fill, list_queries, read_variables
from dashboards.prometheus.options import Options
from dashboards.prometheus.traffic_rules import make_traffic_groups
from harness.services.prometheus_server import PrometheusServer
from harness.waiting import wait_until
from sparing.report.page import TIME_SERIES
from sparing.report.reporting import gather, judge
from sparing.report.sources import PrometheusSource
from tests.dashboards.metrics_page import read_families, render
from tests.servers.one_page import serve_page

pytestmark = pytest.mark.slow

QUESTIONS = list(list_queries())
SCRAPES, WITHIN_S = 4, 60.0


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    families, start = read_families(), time.monotonic()
    with (
        serve_page(lambda: render(families, time.monotonic() - start)) as port,
        PrometheusServer("groups: []", [f"127.0.0.1:{port}"], 0.5) as prometheus,
    ):
        scraped = f"count_over_time(up[1m]) >= {SCRAPES}"
        wait_until(lambda: bool(prometheus.query(scraped)), "too few scrapes", WITHIN_S)
        yield Source(prometheus.url, back_s=1.0, steps=2)


def write(question: PanelQuery) -> str:
    """The query as it is when the dashboard has just been opened."""
    variables = read_variables(FOLDER / f"{question.dashboard}.json")
    route = variables["route"] or "fashion-mnist"
    return fill(question.expr, {**variables, "route": route, "__rate_interval": "1m"})


def count_numbers(source: Source, expr: str, instant: bool) -> int:
    """How many of the numbers that a query brings are numbers."""
    points: list[tuple[float, str]] = []
    for series in source.ask(expr, instant):
        points += [series["value"]] if instant else series["values"]
    return sum(math.isfinite(float(value)) for _, value in points)


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_panel_has_data(source: Source, question: PanelQuery) -> None:
    expr = write(question)
    assert count_numbers(source, expr, question.instant) > 0, expr


def test_a_query_that_is_wrong_is_noticed(source: Source) -> None:
    with pytest.raises(QueryError, match="parse error"):
        count_numbers(source, "sum(rate(sparing_rows_total[1m])", True)
    for expr in ("rate(sparing_row_total[1m])", "0 / (0 * sum(sparing_workers))"):
        assert count_numbers(source, expr, True) == 0
        assert count_numbers(source, expr, False) == 0


def test_every_dashboard_finds_the_routes_to_choose_from(source: Source) -> None:
    found = source.ask('group by (route) (sparing_requests_total{route!=""})', True)
    assert {series["metric"]["route"] for series in found} == {"cifar10", "fashion-mnist"}


def test_a_table_has_a_row_for_each_route(source: Source) -> None:
    tables = [question for question in QUESTIONS if question.panel == "Routes"]
    assert {question.dashboard for question in tables} == {"fleet", "slo"}
    for question in tables:
        rows = [series["metric"] for series in source.ask(write(question), True)]
        assert sorted(row["route"] for row in rows) == ["cifar10", "fashion-mnist"]
        assert all(row.keys() == {"route"} for row in rows)


def test_the_service_fails_where_requests_do_or_no_server_is(source: Source) -> None:
    [question] = [question for question in QUESTIONS if question.panel == "Service"]
    failing = write(question)  # a third of the page's requests does
    gone = failing.replace("sparing_", "sparing_gone_")
    well = gone.replace("absent(sparing_gone_build_info)", "absent(sparing_build_info)")
    told = [source.ask(expr, True)[0]["value"][1] for expr in (failing, gone, well)]
    assert told == ["2", "2", "0"]


def read_routes(source: Source, expr: str) -> dict[str, float]:
    """By route, "" for all together."""
    return {
        series["metric"].get("route", ""): float(series["value"][1])
        for series in source.ask(expr, True)
    }


def test_report_page_dashboards_and_rules_say_one_figure_of_saved(source: Source) -> None:
    routes = gather(PrometheusSource(source.url, 60))
    wanted = {one.route: one.saved for one in routes if one.route}
    share = 1 - sum(one.macs for one in routes) / sum(one.full_macs for one in routes)
    wanted[""] = share
    result = f"saved {share:.1%} of the" if share >= 0 else f"used {-share:.1%} more compute"
    assert f"This {result}" in judge(routes)
    rules = [rule for group in make_traffic_groups(Options()) for rule in group.rules]
    told = [write(question) for question in QUESTIONS if "saved" in question.panel.lower()]
    told = [expr for expr in told if "joules" not in expr]
    told += [write(one) for one in QUESTIONS if one.panel == "Routes" and "full_macs" in one.expr]
    told += [rule.expr for rule in rules if "macs_saved" in getattr(rule, "record", "")]
    assert len(told) == 6  # three tiles, lines, the table of routes, a recording rule
    told += [
        f"({query.format(window='5m')}) / 100" for name, query in TIME_SERIES if "saved" in name
    ]
    for expr in told:
        assert "full_macs" in expr
        every = expr.replace('route=~"fashion-mnist"', 'route=~".+"')  # Route shows one alone
        for route, share in read_routes(source, every).items():
            assert share == pytest.approx(wanted[route], rel=0.01), expr
