"""Every panel's query brings data on a real Prometheus that scrapes all documented metrics."""

import math
import time
from collections.abc import Iterator

import pytest

from monitoring.grafana.questions import FOLDER, Question, fill, list_questions, read_variables
from tests.live_prometheus import LivePrometheus, QueryError, serve_page
from tests.monitoring.metrics_page import read_families, render

pytestmark = pytest.mark.slow

QUESTIONS = list(list_questions())


@pytest.fixture(scope="module")
def prometheus() -> Iterator[LivePrometheus]:
    families, start = read_families(), time.monotonic()
    with (
        serve_page(lambda: render(families, time.monotonic() - start)) as port,
        LivePrometheus(port) as prometheus,
    ):
        prometheus.wait_for("count_over_time(up[1m]) >= 4")
        yield prometheus


def ask(prometheus: LivePrometheus, question: Question) -> int:
    """How many numbers a query brings that are numbers."""
    variables = read_variables(FOLDER / f"{question.dashboard}.json")
    variables |= {"__rate_interval": "1m", "route": variables["route"] or "fashion-mnist"}
    expr = fill(question.expr, variables)
    if question.instant:
        points = [series["value"] for series in prometheus.query(expr)]
    else:
        series_of_query = prometheus.query_range(expr, back_s=1.0, step_s=0.5)
        points = [point for series in series_of_query for point in series["values"]]
    return sum(math.isfinite(float(value)) for _, value in points)


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_panel_has_data(prometheus: LivePrometheus, question: Question) -> None:
    assert ask(prometheus, question) > 0, question.expr


def test_a_query_that_is_wrong_is_noticed(prometheus: LivePrometheus) -> None:
    with pytest.raises(QueryError, match="parse error"):
        ask(prometheus, Question("fleet", "", "A", "sum(rate(sparing_rows_total[1m])", True))
    for expr in ("rate(sparing_row_total[1m])", "0 / (0 * sum(sparing_workers))"):
        assert ask(prometheus, Question("fleet", "", "A", expr, True)) == 0


def test_routes_to_choose_from_are_found(prometheus: LivePrometheus) -> None:
    found = prometheus.label_values("route", 'sparing_requests_total{route!=""}')
    assert found == ["cifar10", "fashion-mnist"]


def test_a_table_has_a_row_for_each_route(prometheus: LivePrometheus) -> None:
    tables = [q for q in QUESTIONS if q.panel == "Routes" and q.dashboard in {"fleet", "slo"}]
    assert {question.dashboard for question in tables} == {"fleet", "slo"}
    for question in tables:
        expr = fill(
            question.expr,
            {**read_variables(FOLDER / f"{question.dashboard}.json"), "__rate_interval": "1m"},
        )
        assert [set(series["metric"]) for series in prometheus.query(expr)] == [{"route"}] * 2


def test_the_service_fails_where_requests_do_or_no_server_is(
    prometheus: LivePrometheus,
) -> None:
    [question] = [q for q in QUESTIONS if q.panel == "Service"]
    expr = fill(question.expr, {"route": ".+", "__rate_interval": "1m"})
    assert [series["value"][1] for series in prometheus.query(expr)] == ["2"]
    gone = expr.replace("sparing_", "sparing_gone_")
    assert [series["value"][1] for series in prometheus.query(gone)] == ["2"]
    alive = gone.replace("sparing_gone_build_info", "sparing_build_info")
    assert [series["value"][1] for series in prometheus.query(alive)] == ["0"]
