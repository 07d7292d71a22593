"""The committed dashboards' questions, as a browser would send them to Prometheus.

Knows the JSON alone and not how it was made, so that what is asked is what Grafana asks.
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
    """What a dashboard's variables are when it is opened; "" for one that is yet to be chosen."""
    chosen: dict[str, str] = {}
    for variable in read_dashboard(path)["templating"]["list"]:
        value = variable.get("current", {}).get("value", "")
        chosen[variable["name"]] = variable["allValue"] if value == ["$__all"] else value
    return chosen


def fill(expr: str, variables: Mapping[str, str]) -> str:
    """The query with its variables' values; raises KeyError for one that is not known."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match[1]], expr)
