"""Write every dashboard as JSON: `python -m dashboards.grafana.make_dashboards`.

Needs grafana-foundation-sdk, which the `test` extra installs. The JSON is committed, so that using
the dashboards does not need it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.grafana.energy import make_energy
from dashboards.grafana.fleet import make_fleet
from dashboards.grafana.layout import SOURCE
from dashboards.grafana.route import make_route
from dashboards.grafana.slo import make_slo

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "fleet": make_fleet,
    "route": make_route,
    "energy": make_energy,
    "slo": make_slo,
}


def render(make: Callable[[], Dashboard]) -> str:
    """Return a dashboard's JSON: panels numbered in reading order, on the selected datasource.

    Keys that the builders write but Grafana's schema does not know are left out.
    """
    text = JSONEncoder(sort_keys=True).encode(make().build())
    document: dict[str, Any] = json.loads(text)
    source = json.loads(JSONEncoder().encode(SOURCE))
    for variable in document["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):  # of intervals, which none of these is
            del variable[name]
    for number, panel in enumerate(document["panels"], 1):
        panel["id"] = number
        panel["datasource"] = source
        if panel["type"] == "table":
            del panel["options"]["footer"]  # Grafana's schema has no such option any more
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(render(make))


if __name__ == "__main__":
    main()
