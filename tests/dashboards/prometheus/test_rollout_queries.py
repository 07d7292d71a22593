"""The queries of the Argo Rollouts example: metrics that exist, and queries that promtool takes."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.metrics.rollout_counts import RoleCounts, RolloutState, make_families
from tests.dashboards.metrics_page import read_families

ROOT = Path(__file__).parents[3]
PLACE = ROOT / "k8s" / "examples" / "argo-rollouts"
TEMPLATES = sorted(PLACE.glob("analysis-*.yaml"))
DOCUMENT = (ROOT / "docs" / "rollouts.md").read_text()
DOCUMENTED = re.findall(r"^\| `(sparing_rollout_\w+)` \|", DOCUMENT, re.MULTILINE)


def list_queries(template: Path) -> Iterator[str]:
    """Queries with the template's arguments, or stand-ins, filled in."""
    spec = yaml.safe_load(template.read_text())["spec"]
    values = {one["name"]: one.get("value", "any") for one in spec["args"]}
    for metric in spec["metrics"]:
        query: str = metric["provider"]["prometheus"]["query"]
        yield re.sub(r"\{\{args\.(\w+)\}\}", lambda found: values[found[1]], query)


def make_series() -> set[str]:
    state = RolloutState("any", 0.5, {"stable": ("1", RoleCounts())})
    names: set[str] = set()
    for family in make_families([state]):
        if family.kind == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(family.name + "_total" * (family.kind == "counter"))
    return names


def test_every_metric_of_a_rollout_is_documented_and_no_other_one() -> None:
    series = {name.removesuffix("_bucket") for name in make_series()}
    assert set(DOCUMENTED) == {name for name in series if not name.endswith(("_sum", "_count"))}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_metric_in_the_queries_exists(template: Path) -> None:
    usual = {name for family in read_families().values() for name in family.series()}
    named = {name for query in list_queries(template) for name in re.findall(r"sparing_\w+", query)}
    assert named
    assert named <= usual | make_series()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_promtool_takes_the_queries(template: Path, tmp_path: Path) -> None:
    queries = list(list_queries(template))
    assert not any("{{" in query for query in queries)
    rules: list[dict[str, Any]] = [
        {"record": f"query{number}", "expr": query} for number, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_the_rollout_gives_the_template_every_argument_without_a_value() -> None:
    rollout = next(yaml.safe_load_all((PLACE / "rollout.yaml").read_text()))
    steps = [one["analysis"] for one in rollout["spec"]["strategy"]["canary"]["steps"][2::3]]
    assert len(steps) == 3
    for step in steps:
        assert step["templates"] == [{"templateName": "sparing-pods"}]
        spec = yaml.safe_load((PLACE / "analysis-pods.yaml").read_text())["spec"]
        needed = {one["name"] for one in spec["args"] if "value" not in one}
        assert {one["name"] for one in step["args"]} == needed
