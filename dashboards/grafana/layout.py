"""What all dashboards share: layout, links to each other, and variables.

Every dashboard has a `datasource` and a `route`, so that one file serves any Prometheus and any
set of routes.
"""

from collections.abc import Iterable, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

TAG = "sparing"
SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
ROUTES = 'label_values(sparing_requests_total{route!=""}, route)'


def new_dashboard(
    name: str, title: str, description: str, one_route: bool = False
) -> builders.Dashboard:
    """Make an empty dashboard. With `one_route` its variable selects exactly one route."""
    return (
        builders.Dashboard(f"Sparing: {title}")
        .uid(f"sparing-{name}")
        .description(description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_others())
        .with_variable(builders.DatasourceVariable("datasource").label("Source").type("prometheus"))
        .with_variable(_route(one_route))
    )


def lay_out(board: builders.Dashboard, *groups: Iterable[Builder[models.Panel]]) -> None:
    """Place panels from left to right, and start a new line when one is full."""
    for group in groups:
        for panel in group:
            board.with_panel(panel)


def custom_variable(
    name: str, label: str, values: Sequence[str], chosen: str
) -> builders.CustomVariable:
    """Make a variable with a few fixed values."""
    options = [models.VariableOption(value == chosen, value, value) for value in values]
    return (
        builders.CustomVariable(name)
        .label(label)
        .values(",".join(values))
        .options(options)
        .current(models.VariableOption(True, chosen, chosen))
    )


def _route(one: bool) -> builders.QueryVariable:
    variable = (
        builders.QueryVariable("route")
        .label("Route")
        .query({"query": ROUTES, "refId": "routes"})
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if one:
        return variable
    everything = models.VariableOption(True, ["All"], ["$__all"])
    return variable.multi(True).include_all(True).all_value(".+").current(everything)


def _others() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Sparing")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
    )
