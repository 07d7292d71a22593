"""`sparing report`: what each route served, and the compute and joules that it saved and used.

Compute saved is 1 - MACs / full MACs, here as on dashboards and in recording rules. The server
counts the full model's MACs for every row that it answered, also from the cache. The full model is
the route's last stage, or all stages if they are parts of one net.

Joules on the full model are an estimate and are labelled as such: every answer takes the device
time of one row in the route's slowest stage, at the route's mean joules per second of stage time.
MACs would not do: a small net uses more joules per MAC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Column, Table

from monitoring.metrics.results import CLIENT_ERRORS
from sparing.report.sources import ReportSource, Sums
from sparing.tables import show_macs
from sparing.units import show_si


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """The figures of one route over the reported time."""

    route: str
    rows: float
    remembered: float
    failed_requests: float
    exits: dict[str, float]  # rows by the stage that answered, with those from the cache
    device_s: float
    macs: float
    full_macs: float  # of the same rows on the full model alone
    joules: float | None  # None: the server has no energy figures
    full_joules: float | None  # an estimate
    sources: tuple[str, ...]
    grams: float | None

    @property
    def saved(self) -> float | None:
        """The share of the full model's MACs that was saved; negative if more were used."""
        return 1 - self.macs / self.full_macs if self.full_macs else None


def gather(figures: ReportSource) -> list[RouteFigures]:
    """Return the figures of every route with rows or failures, sorted by name.

    The route "" holds requests that failed before they reached a route. Raises Failure if the
    source cannot be read.
    """
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
    """Select failed requests, by route and result, without those that the caller got wrong."""
    fine = ("ok", *CLIENT_ERRORS)
    return {key: count for key, count in requests.items() if key[1] not in fine}


class _Stages(NamedTuple):
    """Seconds and rows, by route and stage."""

    seconds: Sums
    rows: Sums

    def estimate_full_joules(self, route: str, rows: float, spent_j: float | None) -> float | None:
        """Estimate the joules of `rows` rows in the slowest stage; None if no stage ran."""
        seconds = {key: value for key, value in self.seconds.items() if key[0] == route}
        a_row = [value / self.rows[key] for key, value in seconds.items() if self.rows.get(key)]
        total_s = sum(seconds.values())
        if spent_j is None or not a_row or not total_s:
            return None
        return spent_j / total_s * max(a_row) * rows


HEAD = ("route", "answers", "failed", "from cache", "most used exit", "device s", "compute saved")
ENERGY_HEAD = ("energy", "per answer", "on the full model", "CO₂e")


def list_rows(routes: Sequence[RouteFigures]) -> list[list[str]]:
    """Return the heading and one row per route; energy columns only with energy figures."""
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
        "–" if one.joules is None else f"{show_si(one.joules, 'J')}{source}",
        "–" if one.joules is None or not one.rows else show_si(one.joules / one.rows, "J"),
        "–" if one.full_joules is None else f"{show_si(one.full_joules, 'J')} (estimate)",
        "–" if one.grams is None else show_si(one.grams, "g"),
    ]


def make_tables(routes: Sequence[RouteFigures], span: str) -> list[Table]:
    """Make the tables for a terminal: served and saved, and energy if there are figures."""
    head, *rows = list_rows(routes)
    wide = len(HEAD)
    parts = [(f"Served and saved, {span}", list(range(wide)))]
    if len(head) > wide:
        parts.append(("Energy", [0, *range(wide, len(head))]))
    tables = []
    for title, places in parts:
        columns = [Column(head[place], overflow="fold") for place in places]
        table = Table(*columns, title=title, title_justify="left", box=None)
        for row in rows:
            table.add_row(*[row[place] for place in places])
        tables.append(table)
    return tables


def judge(routes: Sequence[RouteFigures]) -> str:
    """Sum up all routes in two sentences."""
    macs, full = (sum(getattr(one, name) for one in routes) for name in ("macs", "full_macs"))
    rows = sum(one.rows for one in routes)
    if not full:
        return f"{rows:,.0f} answers; the server computed nothing."
    saved = 1 - macs / full
    result = (
        f"This saved {saved:.1%} of the compute."
        if saved >= 0
        else f"This used {-saved:.1%} more compute than the full model."
    )
    return (
        f"{rows:,.0f} answers used {show_macs(macs)}MACs; the full model alone would have used "
        f"{show_macs(full)}MACs. {result}"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
