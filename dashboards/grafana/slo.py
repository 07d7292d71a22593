"""The dashboard SLO: error budget left of each objective, and its burn rate.

The objectives are variables of the dashboard. Burn rates use the windows of the multi-window
alerts. At rate 1 the budget lasts exactly its period; alerts page at 14.4 and 6, and open tickets
at 3 and 1.
"""

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.stat import Panel as Tile
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Lines

from dashboards.grafana import queries as q
from dashboards.grafana.layout import custom_variable, lay_out, new_dashboard
from dashboards.grafana.panels import GREEN, RED, YELLOW, Column, Look, lines, routes_table, tile
from monitoring.metrics.counts import SECONDS

LEFT = ((None, RED), (0.0, YELLOW), (0.25, GREEN))
BURN = ((None, GREEN), (1.0, YELLOW), (6.0, RED))
PAGES = ((None, GREEN), (6.0, YELLOW), (14.4, RED))
TICKETS = ((None, GREEN), (1.0, YELLOW), (3.0, RED))


def make_slo() -> Dashboard:
    board = new_dashboard(
        "slo", "SLO", "Error budgets of availability and latency, and their burn rates."
    )
    bounds = [str(bound) for bound in SECONDS if 0.005 <= bound <= 1.0]
    for variable in (
        custom_variable("availability", "Answered", ("0.99", "0.995", "0.999", "0.9999"), "0.999"),
        custom_variable("latency", "Fast enough", ("0.9", "0.95", "0.99", "0.999"), "0.99"),
        custom_variable("bound", "Fast is under (s)", bounds, "0.1"),
        custom_variable("period", "Over", ("1d", "7d", "30d"), "30d"),
    ):
        board.with_variable(variable)
    lay_out(board, _first_look(), [_routes()], _availability(), _latency())
    return board


def _burns_answers(window: str, by: str = "") -> str:
    return f"({q.failed(by, window)}) / (1 - $availability)"


def _burns_speed(window: str, by: str = "") -> str:
    return f"({q.slow(by, window)}) / (1 - $latency)"


def _first_look() -> Iterator[Tile]:
    text = "Share left of the failures that the objective allows in the period."
    left = f"1 - {_burns_answers('$period')}"
    yield tile("Availability, budget left", text, left, "percentunit", LEFT)
    text = "Speed at which the budget is used; at 1 it lasts exactly the period."
    yield tile("Availability burn, 5m", text, _burns_answers("5m"), "none", BURN, decimals=1)
    yield tile("Availability burn, 1h", text, _burns_answers("1h"), "none", BURN, decimals=1)
    left = f"1 - {_burns_speed('$period')}"
    text_of_slow = "Share left of the slow rows that the objective allows in the period."
    yield tile("Latency, budget left", text_of_slow, left, "percentunit", LEFT)
    yield tile("Latency burn, 5m", text, _burns_speed("5m"), "none", BURN, decimals=1)
    yield tile("Latency burn, 1h", text, _burns_speed("1h"), "none", BURN, decimals=1)


def _routes() -> Table:
    by = "route"
    period = "$period"
    return routes_table(
        "Routes",
        "Budgets over the chosen period; burn rates over the last hour.",
        [
            Column("Answered", q.answered(by, period), "percentunit", decimals=3),
            Column("Budget left", f"1 - {_burns_answers(period, by)}", "percentunit", LEFT, 1),
            Column("Burn rate", _burns_answers("1h", by), "none", BURN, 1),
            Column("Fast enough", q.fast(by, period), "percentunit", decimals=3),
            Column("Latency left", f"1 - {_burns_speed(period, by)}", "percentunit", LEFT, 1),
            Column("Latency burn rate", _burns_speed("1h", by), "none", BURN, 1),
        ],
    )


def _availability() -> Iterator[Lines]:
    text = "Availability: alerts page if the short and the long window are both over "
    yield lines(
        "Availability, fast burn",
        f"{text}14.4 (5m and 1h) or 6 (30m and 6h).",
        "none",
        {f"{{{{route}}}} {w}": _burns_answers(w, "route") for w in ("5m", "1h", "30m", "6h")},
        Look(steps=PAGES, decimals=1),
    )
    yield lines(
        "Availability, slow burn",
        "Alerts open a ticket if both windows are over 3 (2h and 1d) or 1 (6h and 3d).",
        "none",
        {f"{{{{route}}}} {w}": _burns_answers(w, "route") for w in ("2h", "1d", "6h", "3d")},
        Look(steps=TICKETS, decimals=1),
    )
    yield lines(
        "Answered",
        "Share of valid requests that were answered, and the objective.",
        "percentunit",
        {"{{route}}": q.answered("route"), "promise": "vector($availability)"},
        Look(bound="promise", minimum=None, maximum=1.0, decimals=2),
    )


def _latency() -> Iterator[Lines]:
    text = "As for availability. A row is slow if it takes longer than the bound chosen above."
    yield lines(
        "Latency, fast burn",
        text,
        "none",
        {f"{{{{route}}}} {w}": _burns_speed(w, "route") for w in ("5m", "1h", "30m", "6h")},
        Look(steps=PAGES, decimals=1),
    )
    yield lines(
        "Latency, slow burn",
        text,
        "none",
        {f"{{{{route}}}} {w}": _burns_speed(w, "route") for w in ("2h", "1d", "6h", "3d")},
        Look(steps=TICKETS, decimals=1),
    )
    yield lines(
        "Fast enough",
        "Share of rows within the bound, and the objective.",
        "percentunit",
        {"{{route}}": q.fast("route"), "promise": "vector($latency)"},
        Look(bound="promise", minimum=None, maximum=1.0, decimals=2),
    )
