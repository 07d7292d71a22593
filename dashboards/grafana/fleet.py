"""Fleet: is the service well, and what does it save? One row a route."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.stat import Panel as Tile
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Lines

from dashboards.grafana import queries as q
from dashboards.grafana.layout import lay_out, new_dashboard
from dashboards.grafana.panels import (
    ANSWERED,
    FULL,
    GREEN,
    MACS,
    RED,
    SAVED,
    SECONDS,
    YELLOW,
    Column,
    Look,
    lines,
    routes_table,
    tile,
)

STATES = {"0": ("WELL", GREEN), "1": ("STRAINED", YELLOW), "2": ("FAILING", RED)}
ALERTS = 'count(ALERTS{alertname=~"Sparing.+", alertstate="firing"}) or vector(0)'


def make_fleet() -> Dashboard:
    board = new_dashboard("fleet", "Fleet", "Whether the service is well, and what it saves.")
    lay_out(board, _first_look(), _second_look(), [_routes()], _traffic(), _trouble())
    return board


def _first_look() -> Iterator[Tile]:
    yield tile(
        "Service",
        "FAILING: over 1 % of requests let down, or no server answers. STRAINED: p99 over 250 ms,"
        " or a lane over 80 % full.",
        q.state(),
        "none",
        words=STATES,
    )
    yield tile(
        "Compute saved",
        "MACs spared against answering every row on its route's full model alone.",
        q.saved(),
        "percentunit",
        SAVED,
    )
    yield tile(
        "Power saved, estimated",
        "Against the time of a row of the costliest stage, for every row that was answered.",
        q.saved_watts(),
        "watt",
        ((None, RED), (0.0, GREEN)),
    )
    yield tile(
        "Answered",
        "Of the valid requests; a caller's own mistakes do not count.",
        q.answered(of=q.CHOSEN_OR_UNLABELLED),
        "percentunit",
        ANSWERED,
        decimals=2,
    )
    p99 = q.quantile(0.99, "sparing_latency_seconds")
    yield tile("p99 latency", "1 % of rows are slower.", p99, "s", SECONDS)
    yield tile("Alerts firing", "Sparing's own.", ALERTS, "none", ((None, GREEN), (1.0, RED)))


def _second_look() -> Iterator[Tile]:
    requests = q.rate("sparing_requests_total")
    yield tile("Requests", "Answered a second.", requests, "reqps")
    spent = q.joules_a_request()
    yield tile("Energy a request", "Joules charged to rows, by request answered.", spent, "joule")
    yield tile("From cache", "Rows answered from the cache.", q.cached_share(), "percentunit")
    text = "At 100 % requests are refused."
    yield tile("Fullest lane", text, q.waiting(), "percentunit", FULL, decimals=1)
    routes = f"count(count by (route) (sparing_rows_total{{{q.CHOSEN}}}))"
    yield tile("Routes served", "By all servers together.", routes, "none")
    yield tile("Servers", "Processes that serve.", "sum(sparing_workers)", "none")


def _routes() -> Table:
    by = "route"
    macs = f"{q.rate('sparing_macs_total', by=by)} / {q.rate('sparing_rows_total', by=by)}"
    return routes_table(
        "Routes",
        "Now. Saved: MACs spared against answering every row on the route's full model alone.",
        [
            Column("Requests/s", q.rate("sparing_requests_total", by=by), "reqps"),
            Column("Answered", q.answered(by), "percentunit", ANSWERED, 2),
            Column("p99", q.quantile(0.99, "sparing_latency_seconds", by), "s", SECONDS),
            Column("J/request", q.joules_a_request(by), "joule"),
            Column("Saved", q.saved(by), "percentunit", SAVED, 1),
            Column("From cache", q.cached_share(by), "percentunit", decimals=1),
            Column("MACs/row", macs, MACS),
        ],
    )


def _traffic() -> Iterator[Lines]:
    yield lines(
        "Saved against the full model",
        "Share of MACs spared. Below zero a route costs more than its full model alone.",
        "percentunit",
        {"{{route}}": q.saved("route")},
        Look(minimum=None, maximum=1.0),
    )
    yield lines(
        "Traffic",
        "Requests answered by an endpoint, whatever the result.",
        "reqps",
        {"{{route}}": q.rate("sparing_requests_total", by="route")},
    )
    yield lines(
        "p99 latency",
        "From a row's arrival in the engine to its answer; 1 % are slower.",
        "s",
        {"{{route}}": q.quantile(0.99, "sparing_latency_seconds", "route")},
        Look(exemplars=True),
    )


def _trouble() -> Iterator[Lines]:
    yield lines(
        "Energy a request",
        "Joules charged to rows, by request answered. Energy says where joules come from.",
        "joule",
        {"{{route}}": q.joules_a_request("route")},
    )
    yield lines(
        "Faults",
        "Requests that the service let down, by what went wrong.",
        "reqps",
        {
            "{{result}}": q.rate(
                "sparing_requests_total", q.FAULTY, by="result", of=q.CHOSEN_OR_UNLABELLED
            )
        },
    )
    yield lines(
        "Rows that wait",
        "In a route's lanes. At the limit, requests are refused as Overloaded.",
        "short",
        {
            "{{route}}": f"sum by (route) (sparing_waiting_rows{{{q.CHOSEN}}})",
            "limit": "min(sparing_waiting_rows_limit)",
        },
        Look(bound="limit"),
    )
