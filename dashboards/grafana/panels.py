"""The kinds of panels on the dashboards: tiles, lines, areas and tables.

Every panel has a unit and a description that explains how to read it. The dashboards decide where
panels go and what they query.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN, YELLOW, RED, BLUE, PURPLE, GREY = "green", "yellow", "red", "blue", "purple", "#8e8e8e"
MACS = "si: MAC"
BACKGROUND = common.BigValueColorMode.BACKGROUND

Steps = Sequence[tuple[float | None, str]]  # from this value on, this colour; the first has None

PLAIN: Steps = ((None, "text"),)
SAVED: Steps = ((None, RED), (0.0, YELLOW), (0.2, GREEN))
ANSWERED: Steps = ((None, RED), (0.99, YELLOW), (0.999, GREEN))
SECONDS: Steps = ((None, GREEN), (0.1, YELLOW), (0.25, RED))
FULL: Steps = ((None, GREEN), (0.5, YELLOW), (0.8, RED))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table with one row per route."""

    title: str
    expr: str
    unit: str
    steps: Steps = ()
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The look of a panel's lines, apart from their unit."""

    colours: Mapping[str, str] = field(default_factory=dict)
    steps: Steps = ()
    bound: str = ""  # the line that others must not cross, by its legend
    minimum: float | None = 0.0
    maximum: float | None = None
    stacked: bool = False
    decimals: int | None = None
    exemplars: bool = False


def tile(
    title: str,
    description: str,
    expr: str,
    unit: str,
    steps: Steps = PLAIN,
    words: Mapping[str, tuple[str, str]] | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """Show one current number, or the text that `words` has for it.

    Only numbers that can be bad have colours.
    """
    coloured = words or steps is not PLAIN
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .mappings(_words(words or {}))
        .no_value("no data")
        .color_mode(BACKGROUND if coloured else common.BigValueColorMode.NONE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(4)
    )
    if decimals is not None:
        panel.decimals(decimals)
    return panel.with_target(_query(expr, "A").instant())


def named_tile(title: str, description: str, expr: str, label: str) -> stat.Panel:
    """Show the value of a label in large type, such as the energy source."""
    panel = tile(title, description, expr, "none").text_mode(common.BigValueTextMode.NAME)
    panel.targets([_query(expr, "A").instant().legend_format(f"{{{{{label}}}}}")])
    return panel


def lines(
    title: str,
    description: str,
    unit: str,
    series: Mapping[str, str],
    look: Look | None = None,
) -> timeseries.Panel:
    """Show values over time. `series` maps a legend, such as "{{route}}", to its query."""
    look = look or Look()
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .line_width(2)
        .fill_opacity(60 if look.stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .height(8)
        .span(8)
    )
    _apply_look(panel, look)
    if any(legend == "{{route}}" for legend in series):  # the same colour in every panel
        mode = dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
        panel.color_scheme(builders.FieldColor().mode(mode))
    for letter, (legend, expr) in zip("ABCDEFGH", series.items(), strict=False):
        query = _query(expr, letter).range().legend_format(legend)
        panel.with_target(query.exemplar(True) if look.exemplars else query)
    return panel


def routes_table(title: str, description: str, columns: Sequence[Column]) -> table.Panel:
    """Show one row per route; a click on a route's name opens its dashboard."""
    panel = table.Panel().title(title).description(description).height(9).span(24)
    panel.mappings(_words({}))  # a route without requests has no p99
    letters = "ABCDEFGHIJ"[: len(columns)]
    for letter, column in zip(letters, columns, strict=True):
        query = _query(column.expr, letter).instant().format(PromQueryFormat.TABLE)
        panel.with_target(query)
        panel.override_by_name(column.title, _properties(column))
    panel.override_by_name("Route", [_link_to_route()])
    names = {"route": "Route"}
    names |= {f"Value #{letter}": c.title for letter, c in zip(letters, columns, strict=True)}
    return panel.transformations(
        [
            _transformation("joinByField", {"byField": "route", "mode": "outer"}),
            _transformation("filterFieldsByName", {"include": {"pattern": "^(route|Value.*)$"}}),
            _transformation("organize", {"renameByName": names}),
        ]
    )


def _apply_look(panel: timeseries.Panel, look: Look) -> None:
    if look.stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if look.decimals is not None:
        panel.decimals(look.decimals)
    if look.minimum is not None:
        panel.min(look.minimum)
    if look.maximum is not None:
        panel.max(look.maximum)
    if look.steps:
        panel.thresholds(_thresholds(look.steps))
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE)
        )
    for name, colour in look.colours.items():
        panel.override_by_name(name, [_fixed(colour)])
    if look.bound:
        panel.override_by_name(look.bound, _dashed())


def _query(expr: str, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(letter)


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    marks = [dashboard.Threshold(value=value, color=colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(marks)


def _words(words: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    nothing = dashboard.ValueMappingResult(text="no traffic", color=GREY)
    mappings: list[dashboard.ValueMapping] = [
        dashboard.SpecialValueMap(
            options=dashboard.DashboardSpecialValueMapOptions(
                match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=nothing
            )
        )
    ]
    if words:
        told = {
            value: dashboard.ValueMappingResult(text=text, color=colour)
            for value, (text, colour) in words.items()
        }
        mappings.append(dashboard.ValueMap(options=told))
    return mappings


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull"])
    )


def _fixed(colour: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def _dashed() -> list[dashboard.DynamicConfigValue]:
    style = dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    return [_fixed(RED), style, dashboard.DynamicConfigValue("custom.fillOpacity", 0)]


def _properties(column: Column) -> list[dashboard.DynamicConfigValue]:
    values: dict[str, object] = {"unit": column.unit}
    if column.decimals is not None:
        values["decimals"] = column.decimals
    if column.steps:
        values["thresholds"] = _thresholds(column.steps).build()
        values["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return [dashboard.DynamicConfigValue(key, value) for key, value in values.items()]


def _link_to_route() -> dashboard.DynamicConfigValue:
    link = {"title": "Open this route", "url": "/d/sparing-route?var-route=${__value.raw}"}
    return dashboard.DynamicConfigValue("links", [link])


def _transformation(kind: str, options: object) -> dashboard.DataTransformerConfig:
    return dashboard.DataTransformerConfig(id_val=kind, options=options)
