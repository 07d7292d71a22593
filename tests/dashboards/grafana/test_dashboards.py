"""Dashboards are what the generator makes, ask only for metrics that exist, and read well."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.grafana.make_dashboards import DASHBOARDS, FOLDER, render
from dashboards.grafana.questions import (
    FILES,
    PanelQuery,
    fill,
    list_queries,
    read_dashboard,
    read_variables,
)
from monitoring.metrics.counts import SECONDS
from monitoring.metrics.results import CLIENT_ERRORS
from serving.http.status import STATUS
from tests.dashboards.metrics_page import read_families

ROOT = Path(__file__).parents[3]
PROVISIONING = ROOT / "dashboards" / "grafana" / "provisioning"
FAMILIES = {series: family for family in read_families().values() for series in family.series()}
QUESTIONS = list(list_queries())
PROMETHEUS_OWN = {"ALERTS"}
WORDS = {"sum", "by", "rate", "count", "max", "min", "on", "group_left", "or", "bool", "absent",
         "vector", "clamp_max", "histogram_quantile"}  # fmt: skip
UNITS = {"joule", "watt", "s", "percentunit", "reqps", "rowsps", "bytes", "short", "none", "massg",
         "si: MAC", "si: MAC/s", "suffix: g/h", "suffix: g/kWh"}  # fmt: skip

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_question = pytest.mark.parametrize("question", QUESTIONS, ids=str)


def read_names(expr: str) -> set[str]:
    """Metrics of a query: what is left without strings, windows, variables, labels and words."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\$\w+', "", expr)
    bare = re.sub(r"\{[^}]*\}|\b(by|on) ?\([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - WORDS


def read_labels(expr: str) -> set[str]:
    grouped = {
        name for names in re.findall(r"\bby \(([^)]*)\)", expr) for name in names.split(", ")
    }
    return grouped | set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expr))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_committed_file_is_what_the_generator_makes(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    assert text == render(DASHBOARDS[name]), "run python -m dashboards.grafana.make_dashboards"


def test_no_other_dashboard_lies_there() -> None:
    assert [path.stem for path in FILES] == sorted(DASHBOARDS)
    assert len({read_dashboard(path)["uid"] for path in FILES}) == len(FILES)


@each_question
def test_every_metric_of_a_query_exists(question: PanelQuery) -> None:
    names = read_names(question.expr)
    assert names <= FAMILIES.keys() | PROMETHEUS_OWN
    assert names or question.expr.startswith("vector(")


@each_question
def test_every_label_of_a_query_belongs_to_one_of_its_metrics(question: PanelQuery) -> None:
    names = read_names(question.expr) - PROMETHEUS_OWN
    if not names:
        return
    known = {label for name in names for label in FAMILIES[name].labels}
    assert read_labels(question.expr) <= known | {"le", "job", "instance"}


@each_question
def test_a_metric_with_a_route_is_narrowed_to_the_chosen_ones(question: PanelQuery) -> None:
    if question.panel == "Carbon" and question.letter == "B":
        return  # idle and overhead belong to no route, and to everything
    for name in read_names(question.expr) - PROMETHEUS_OWN:
        if "route" in FAMILIES[name].labels:
            uses = len(re.findall(rf"\b{name}\b", question.expr))
            assert len(re.findall(rf'\b{name}\{{route=~"\$route\|?"', question.expr)) == uses


@each_question
def test_rates_follow_the_zoom_except_where_budgets_are_reckoned(question: PanelQuery) -> None:
    windows = set(re.findall(r"\[([^\]]+)\]", question.expr))
    if question.dashboard != "slo":
        assert windows <= {"$__rate_interval"}
    assert windows <= {"$__rate_interval", "$period", "5m", "30m", "1h", "2h", "6h", "1d", "3d"}


@each_question
def test_every_variable_of_a_query_is_defined(question: PanelQuery) -> None:
    variables = read_variables(FOLDER / f"{question.dashboard}.json")
    assert {"route", "datasource"} <= variables.keys()
    fill(question.expr, {**variables, "__rate_interval": "1m"})


@each_file
def test_panels_have_a_title_of_their_own_a_text_and_a_unit(path: Path) -> None:
    panels = read_dashboard(path)["panels"]
    assert len({(panel["type"], panel["title"]) for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        config = panel["fieldConfig"]
        units = {item["value"] for rule in config["overrides"] for item in rule["properties"]
                 if item["id"] == "unit"}  # fmt: skip
        if panel["type"] != "table":
            units.add(config["defaults"]["unit"])
        assert units and units <= UNITS


@each_file
def test_panels_fill_the_grid_without_overlapping(path: Path) -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in read_dashboard(path)["panels"]:
        lay_out = panel["gridPos"]
        for x in range(lay_out["x"], lay_out["x"] + lay_out["w"]):
            for y in range(lay_out["y"], lay_out["y"] + lay_out["h"]):
                assert x < 24
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


@each_file
def test_thresholds_rise_from_a_colour_without_a_value(path: Path) -> None:
    for panel in read_dashboard(path)["panels"]:
        for steps in find_steps(panel):
            assert steps[0]["value"] is None
            values = [step["value"] for step in steps[1:]]
            assert all(low < high for low, high in pairwise(values))


def find_steps(node: Any) -> list[list[dict[str, Any]]]:
    if isinstance(node, list):
        return [steps for item in node for steps in find_steps(item)]
    if not isinstance(node, dict):
        return []
    own = [node["steps"]] if "steps" in node else []
    return own + [steps for item in node.values() for steps in find_steps(item)]


def test_fleet_begins_with_whether_all_is_well_and_what_is_saved() -> None:
    first, second, *_ = read_dashboard(FOLDER / "fleet.json")["panels"]
    assert [first["title"], second["title"]] == ["Service", "Compute saved"]
    assert first["gridPos"]["y"] == second["gridPos"]["y"] == 0
    [told] = [mapping for mapping in first["fieldConfig"]["defaults"]["mappings"]
              if mapping["type"] == "value"]  # fmt: skip
    words = {value: (result["text"], result["color"]) for value, result in told["options"].items()}
    assert words == {
        "0": ("WELL", "green"), "1": ("STRAINED", "yellow"), "2": ("FAILING", "red"),
    }  # fmt: skip


def test_bounds_to_choose_from_are_buckets() -> None:
    [bound] = [
        v for v in read_dashboard(FOLDER / "slo.json")["templating"]["list"] if v["name"] == "bound"
    ]
    assert set(bound["query"].split(",")) <= {str(second) for second in SECONDS}


def test_only_callers_mistakes_are_not_counted_against_the_service() -> None:
    mistakes = {e.__name__ for e, status in STATUS.items() if status < 500 and status != 429}
    assert set(CLIENT_ERRORS) == mistakes | {"ClientGone"}


def test_provisioning_names_the_source_and_the_folder_that_the_page_tells_to_set() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources/sparing.yaml").read_text())[
        "datasources"
    ]
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/sparing.yaml").read_text())["providers"]
    assert (source["type"], provider["type"]) == ("prometheus", "file")
    page = (ROOT / "docs" / "dashboards.md").read_text()
    for value in (source["url"], provider["options"]["path"]):
        assert f"{value.removeprefix('$')}=" in page
