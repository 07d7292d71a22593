"""Dashboards have the types of Grafana's own schema, and so have the options of their panels."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.grafana.questions import FILES, FOLDER, read_dashboard
from tests.dashboards.grafana.typed_json import DASHBOARD, PANELS, check, find_npm, install

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_npm() is None, reason="npm is missing, which installs Grafana's types"),
]
PLUGINS = {"stat": "Stat", "table": "Table", "timeseries": "TimeSeries"}


@pytest.fixture(scope="module")
def installed() -> Path:
    npm = find_npm()
    assert npm is not None
    return install(npm)


def write_imports() -> Iterator[str]:
    yield f'import type {{ Dashboard }} from "{DASHBOARD}";'
    for plugin, name in PLUGINS.items():
        where = f"{PANELS}/{plugin}/panelcfg/x/{name}PanelCfg_types.gen"
        yield f'import type {{ Options as {name}Options }} from "{where}";'


def check_dashboard(installed: Path, folder: Path, document: dict[str, Any]) -> list[str]:
    values: dict[str, object] = {"Loose<Dashboard>": document}
    for plugin, name in PLUGINS.items():
        options = [
            panel.get("options", {}) for panel in document["panels"] if panel["type"] == plugin
        ]
        values[f"Part<Loose<{name}Options>>[]"] = options
    return check(installed, folder, "\n".join(write_imports()), values)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_has_the_types_of_the_schema(
    installed: Path, tmp_path: Path, path: Path
) -> None:
    assert {panel["type"] for panel in read_dashboard(path)["panels"]} <= PLUGINS.keys()
    assert check_dashboard(installed, tmp_path, read_dashboard(path)) == []


def test_what_the_schema_does_not_know_is_noticed(installed: Path, tmp_path: Path) -> None:
    good = read_dashboard(FOLDER / "fleet.json")
    for number, spoil in enumerate((spoil_place, spoil_mode, spoil_option)):
        bad, folder = copy.deepcopy(good), tmp_path / str(number)
        folder.mkdir()
        spoil(bad["panels"][0])
        assert "error TS" in "".join(check_dashboard(installed, folder, bad)), spoil


def spoil_place(panel: dict[str, Any]) -> None:
    panel["gridPos"]["h"] = "8"


def spoil_mode(panel: dict[str, Any]) -> None:
    panel["fieldConfig"]["defaults"]["thresholds"]["mode"] = "absolut"


def spoil_option(panel: dict[str, Any]) -> None:
    panel["options"]["colorMode"] = "loud"
