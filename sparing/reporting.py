"""`sparing report`: what each route served, saved and cost, against everything on the full model.

Saved is one figure here, on dashboards and in recording rules: 1 - MACs / full MACs, where the
server counts the full model's MACs for every row that it answered, from the cache too. The full
model is the route's last stage, or all stages where they are parts of one net. Joules of the full
model: as if every answer had taken the time of a row of the route's costliest stage, at the joules
that the route's time really took; an estimate, and called so. Not in proportion to MACs, of which
a small network's take more joules each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Column, Table

from monitoring.metrics.results import CLIENT_ERRORS
from sparing.report_sources import ReportSource, Sums
from sparing.tables import show_macs


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """One route's time."""

    route: str
    rows: float
    remembered: float
    failed_requests: float
    exits: dict[str, float]  # rows by the stage that answered, cached ones too
    device_s: float
    macs: float
    full_macs: float  # of all its rows on the full model alone
    joules: float | None  # None: nothing was measured
    full_joules: float | None  # estimated
    sources: tuple[str, ...]
    grams: float | None

    @property
    def saved(self) -> float | None:
        """The share of the full model's work that was not done; None where there was none."""
        return 1 - self.macs / self.full_macs if self.full_macs else None


def gather(figures: ReportSource) -> list[RouteFigures]:
    """Every route that was asked for anything, by name; "" for what reached no route."""
    rows = figures.grown("sparing_rows_total", ("route", "exit", "stopped_by"))
    requests = figures.grown("sparing_requests_total", ("route", "result"))
    device = figures.grown("sparing_device_seconds_total", ("route",))
    macs = figures.grown("sparing_macs_total", ("route",))
    full = figures.grown("sparing_full_macs_total", ("route",))
    joules = figures.grown("sparing_energy_joules_total", ("route", "source"))
    grams = figures.grown("sparing_carbon_grams_total", ("route",))
    stages = _Stages(
        figures.grown("sparing_stage_seconds_sum", ("route", "stage")),
        figures.grown("sparing_batch_rows_sum", ("route", "stage")),
    )
    found = []
    asked = [*((key[0], count) for key, count in (*rows.items(), *bad_ones(requests).items()))]
    for route in sorted({route for route, count in asked if count > 0}):
        own = {key[1:]: count for key, count in rows.items() if key[0] == route}
        total = sum(own.values())
        remembered = sum(count for (_, why), count in own.items() if why == "cache")
        exits: dict[str, float] = {}
        for (exit, _), count in own.items():
            exits[exit] = exits.get(exit, 0.0) + count
        measured = {key[1]: value for key, value in joules.items() if key[0] == route}
        spent_j = sum(measured.values()) if measured else None
        found.append(
            RouteFigures(
                route=route,
                rows=total,
                remembered=remembered,
                failed_requests=sum(
                    count for (of, _), count in bad_ones(requests).items() if of == route
                ),
                exits=exits,
                device_s=device.get((route,), 0.0),
                macs=macs.get((route,), 0.0),
                full_macs=full.get((route,), 0.0),
                joules=spent_j,
                full_joules=stages.estimate_full_joules(route, total, spent_j),
                sources=tuple(sorted(source for source, value in measured.items() if value)),
                grams=grams.get((route,)),
            )
        )
    return found


def bad_ones(requests: Sums) -> Sums:
    """Those that were let down, by route and result; a caller's own fault is none of ours."""
    fine = ("ok", *CLIENT_ERRORS)
    return {key: count for key, count in requests.items() if key[1] not in fine}


class _Stages(NamedTuple):
    """By route and stage."""

    seconds: Sums
    rows: Sums

    def estimate_full_joules(self, route: str, rows: float, spent_j: float | None) -> float | None:
        """So many rows in the costliest stage; None where nothing ran."""
        seconds = {key: value for key, value in self.seconds.items() if key[0] == route}
        a_row = [value / self.rows[key] for key, value in seconds.items() if self.rows.get(key)]
        total_s = sum(seconds.values())
        if spent_j is None or not a_row or not total_s:
            return None
        return spent_j / total_s * max(a_row) * rows


HEAD = ("route", "answers", "failed", "from cache", "busiest exit", "device s", "work saved")
ENERGY_HEAD = ("J", "J an answer", "J on the full model", "g CO₂e")


def list_rows(routes: Sequence[RouteFigures]) -> list[list[str]]:
    """A head, and a row a route; columns on energy only where something was measured."""
    measured = any(one.joules is not None for one in routes)
    rows = [[*HEAD, *(ENERGY_HEAD if measured else ())]]
    for one in routes:
        cells = [
            one.route or "(none)",
            f"{one.rows:,.0f}",
            f"{one.failed_requests:,.0f}",
            _percent(one.remembered / one.rows if one.rows else None),
            _show_busiest(one),
            f"{one.device_s:.3g}",
            _percent(one.saved),
        ]
        rows.append([*cells, *(_list_energy(one) if measured else ())])
    return rows


def _show_busiest(one: RouteFigures) -> str:
    if not one.rows:
        return "–"
    busiest = max(one.exits, key=lambda exit: one.exits[exit])
    return f"{busiest}, {one.exits[busiest] / one.rows:.1%}"


def _list_energy(one: RouteFigures) -> list[str]:
    source = f" ({', '.join(one.sources)})" if one.sources else ""
    return [
        "–" if one.joules is None else f"{one.joules:,.1f}{source}",
        "–" if one.joules is None or not one.rows else f"{one.joules / one.rows:.4g}",
        "–" if one.full_joules is None else f"{one.full_joules:,.1f} (estimate)",
        "–" if one.grams is None else f"{one.grams:.4g}",
    ]


def make_tables(routes: Sequence[RouteFigures], span: str) -> list[Table]:
    """For a terminal: what was served, and where something was measured what it took."""
    head, *rows = list_rows(routes)
    wide = len(HEAD)
    parts = [(f"Served and saved, {span}", list(range(wide)))]
    if len(head) > wide:
        parts.append(("Spent", [0, *range(wide, len(head))]))
    tables = []
    for title, places in parts:
        columns = [Column(head[place], overflow="fold") for place in places]
        table = Table(*columns, title=title, title_justify="left", box=None)
        for row in rows:
            table.add_row(*[row[place] for place in places])
        tables.append(table)
    return tables


def judge(routes: Sequence[RouteFigures]) -> str:
    """One sentence over all routes."""
    macs, full = (sum(getattr(one, name) for one in routes) for name in ("macs", "full_macs"))
    rows = sum(one.rows for one in routes)
    if not full:
        return f"{rows:,.0f} answers; nothing was computed."
    return (
        f"{rows:,.0f} answers took {show_macs(macs)}MACs instead of {show_macs(full)}MACs on the "
        f"full models alone: {1 - macs / full:.1%} of the work was saved."
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
