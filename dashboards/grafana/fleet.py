"""The dashboard Fleet: health of the service and compute saved, with one table row per route."""

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
    board = new_dashboard("fleet", "Fleet", "Health of the service, and the compute that it saves.")
    lay_out(board, _first_look(), _second_look(), [_routes()], _traffic(), _trouble())
    return board


def _first_look() -> Iterator[Tile]:
    yield tile(
        "Service",
        "FAILING: over 1 % of requests fail, or no server answers. STRAINED: p99 over 250 ms,"
        " or a lane over 80 % full.",
        q.state(),
        "none",
        words=STATES,
    )
    yield tile(
        "Compute saved",
        "MACs saved, compared with the full model for every row.",
        q.saved(),
        "percentunit",
        SAVED,
    )
    yield tile(
        "Power saved, estimated",
        "Compared with the route's slowest stage for every answered row.",
        q.saved_watts(),
        "watt",
        ((None, RED), (0.0, GREEN)),
    )
    yield tile(
        "Answered",
        "Share of valid requests that were answered; wrong requests of callers do not count.",
        q.answered(of=q.CHOSEN_OR_UNLABELLED),
        "percentunit",
        ANSWERED,
        decimals=2,
    )
    p99 = q.quantile(0.99, "sparing_latency_seconds")
    yield tile("p99 latency", "1 % of rows are slower.", p99, "s", SECONDS)
    yield tile(
        "Alerts firing",
        "Alerts of Sparing's own rules.",
        ALERTS,
        "none",
        ((None, GREEN), (1.0, RED)),
    )


def _second_look() -> Iterator[Tile]:
    requests = q.rate("sparing_requests_total")
    yield tile("Requests", "Replies per second.", requests, "reqps")
    spent = q.joules_a_request()
    text = "Joules that rows used, per answered request."
    yield tile("Energy per request", text, spent, "joule")
    yield tile(
        "From cache", "Share of rows answered from the cache.", q.cached_share(), "percentunit"
    )
    text = "At 100 % the server rejects requests as Overloaded."
    yield tile("Fullest lane", text, q.waiting(), "percentunit", FULL, decimals=1)
    routes = f"count(count by (route) (sparing_rows_total{{{q.CHOSEN}}}))"
    yield tile("Routes served", "Distinct routes on all servers.", routes, "none")
    yield tile("Servers", "Server processes.", "sum(sparing_workers)", "none")


def _routes() -> Table:
    by = "route"
    macs = f"{q.rate('sparing_macs_total', by=by)} / {q.rate('sparing_rows_total', by=by)}"
    return routes_table(
        "Routes",
        "Current values. Saved: MACs saved, compared with the full model for every row.",
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
        "Compute saved by route",
        "Share of MACs saved. Below zero the route uses more compute than its full model.",
        "percentunit",
        {"{{route}}": q.saved("route")},
        Look(minimum=None, maximum=1.0),
    )
    yield lines(
        "Traffic",
        "Replies of both endpoints per second, errors included.",
        "reqps",
        {"{{route}}": q.rate("sparing_requests_total", by="route")},
    )
    yield lines(
        "p99 latency",
        "Time from a row's arrival in the engine to its answer; 1 % of rows are slower.",
        "s",
        {"{{route}}": q.quantile(0.99, "sparing_latency_seconds", "route")},
        Look(exemplars=True),
    )


def _trouble() -> Iterator[Lines]:
    yield lines(
        "Energy per request",
        "Joules that rows used, per answered request. The dashboard Energy shows the source.",
        "joule",
        {"{{route}}": q.joules_a_request("route")},
    )
    yield lines(
        "Failed requests",
        "Requests that failed through no fault of the caller, by error.",
        "reqps",
        {
            "{{result}}": q.rate(
                "sparing_requests_total", q.FAULTY, by="result", of=q.CHOSEN_OR_UNLABELLED
            )
        },
    )
    yield lines(
        "Waiting rows",
        "Rows in a route's lanes. At the limit the server rejects requests as Overloaded.",
        "short",
        {
            "{{route}}": f"sum by (route) (sparing_waiting_rows{{{q.CHOSEN}}})",
            "limit": "min(sparing_waiting_rows_limit)",
        },
        Look(bound="limit"),
    )
