"""The queries of the committed dashboards, as a browser sends them to Prometheus.

Reads only the JSON, not the Python that generates it, so the queries are those of Grafana.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel."""

    dashboard: str
    panel: str
    letter: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} {self.letter}"


def read_dashboard(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def list_queries() -> Iterator[PanelQuery]:
    for path in FILES:
        for panel in read_dashboard(path)["panels"]:
            for query in panel["targets"]:
                yield PanelQuery(
                    path.stem, panel["title"], query["refId"], query["expr"], query["instant"]
                )


def read_variables(path: Path) -> dict[str, str]:
    """Return the initial values of a dashboard's variables; "" for one without a default."""
    chosen: dict[str, str] = {}
    for variable in read_dashboard(path)["templating"]["list"]:
        value = variable.get("current", {}).get("value", "")
        chosen[variable["name"]] = variable["allValue"] if value == ["$__all"] else value
    return chosen


def fill(expr: str, variables: Mapping[str, str]) -> str:
    """Insert the variables' values into a query. Raises KeyError for an unknown variable."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match[1]], expr)
