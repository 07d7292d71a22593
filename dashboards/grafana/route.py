"""Route: one route from its exits to its cache. Where do rows leave, and what does each cost?"""

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.stat import Panel as Tile
from grafana_foundation_sdk.builders.timeseries import Panel as Lines

from dashboards.grafana import queries as q
from dashboards.grafana.layout import lay_out, new_dashboard
from dashboards.grafana.panels import (
    ANSWERED,
    BLUE,
    GREEN,
    PURPLE,
    RED,
    SAVED,
    SECONDS,
    YELLOW,
    Look,
    lines,
    named_tile,
    tile,
)

SHARES = Look(stacked=True, maximum=1.0)
STACKED = Look(stacked=True)
STOPS = {
    "confidence": GREEN,
    "last_stage": BLUE,
    "cache": PURPLE,
    "deadline": RED,
    "energy": YELLOW,
}


def make_route() -> Dashboard:
    text = "One route: exits, stages, batches, cache, energy."
    board = new_dashboard("route", "Route", text, one_route=True)
    lay_out(board, _first_look(), _answers(), _exits(), _stages(), _batches(), _cache(), _energy())
    return board


def _first_look() -> Iterator[Tile]:
    info = f"sparing_route_info{{{q.CHOSEN}}}"
    yield named_tile("Pipeline", "What kind of route it is.", info, "pipeline")
    yield tile("Compute saved", "Against the full model alone.", q.saved(), "percentunit", SAVED)
    text = "Of the valid requests."
    yield tile("Answered", text, q.answered(), "percentunit", ANSWERED, decimals=2)
    p99 = q.quantile(0.99, "sparing_latency_seconds")
    yield tile("p99 latency", "1 % of rows are slower.", p99, "s", SECONDS)
    yield tile("Rows", "Answered a second.", q.rate("sparing_rows_total"), "rowsps")
    spent = q.joules_a_request()
    yield tile("Energy a request", "Joules charged to rows, by request answered.", spent, "joule")


def _exits() -> Iterator[Lines]:
    rows = q.rate("sparing_rows_total")
    yield lines(
        "Exit mix",
        "Share of rows by the stage that answered. A shift to later exits means harder inputs.",
        "percentunit",
        {"{{exit}}": f"{q.rate('sparing_rows_total', by='exit')} / on() group_left {rows}"},
        SHARES,
    )
    stops = q.rate("sparing_rows_total", by="stopped_by")
    yield lines(
        "Why rows stopped",
        "Share of rows: surely enough, no further stage, out of time, out of energy, cached.",
        "percentunit",
        {"{{stopped_by}}": f"{stops} / on() group_left {rows}"},
        Look(colours=STOPS, stacked=True, maximum=1.0),
    )
    yield lines(
        "Rows that went on",
        "Rows that left a stage for another one.",
        "rowsps",
        {"from {{stage}}": q.rate("sparing_escalations_total", by="stage")},
    )


def _stages() -> Iterator[Lines]:
    yield lines(
        "Latency by exit, p99",
        "From a row's arrival in the engine to its answer.",
        "s",
        {"{{exit}}": q.quantile(0.99, "sparing_latency_seconds", "exit")},
        Look(exemplars=True),
    )
    yield lines(
        "Stage latency",
        "How long a stage takes for a batch.",
        "s",
        {
            "{{stage}} p50": q.quantile(0.5, "sparing_stage_seconds", "stage"),
            "{{stage}} p99": q.quantile(0.99, "sparing_stage_seconds", "stage"),
        },
    )
    yield lines(
        "Queue time, p99",
        "How long a row waits in a stage's lane.",
        "s",
        {"{{stage}}": q.quantile(0.99, "sparing_queue_seconds", "stage")},
    )


def _answers() -> Iterator[Lines]:
    yield lines(
        "Requests by result",
        "ok, and beside it what went wrong, by whoever's doing.",
        "reqps",
        {"{{result}}": q.rate("sparing_requests_total", by="result")},
        Look(colours={"ok": GREEN}),
    )
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    yield lines(
        "Latency",
        "From a row's arrival in the engine to its answer, all exits together.",
        "s",
        {name: q.quantile(share, "sparing_latency_seconds") for name, share in shares.items()},
    )
    yield lines(
        "Compute",
        "MACs spent, and what the same rows would have cost on the full model alone.",
        "si: MAC/s",
        {
            "spent": q.rate("sparing_macs_total"),
            "full model": q.rate("sparing_full_macs_total"),
        },
        Look(colours={"spent": GREEN}, bound="full model"),
    )


def _batches() -> Iterator[Lines]:
    yield lines(
        "Rows of a batch, mean",
        "Larger batches cost less a row.",
        "short",
        {"{{stage}}": q.mean("sparing_batch_rows", "stage")},
    )
    yield lines(
        "Lane, busy",
        "Share of time that a stage keeps the route's lane busy. Near 100 % rows begin to wait.",
        "percentunit",
        {"{{stage}}": q.rate("sparing_stage_seconds_sum", by="stage")},
        STACKED,
    )
    yield lines(
        "Rows that wait",
        "In the route's lanes. At the limit, requests are refused as Overloaded.",
        "short",
        {
            "waiting": f"sum(sparing_waiting_rows{{{q.CHOSEN}}})",
            "limit": "min(sparing_waiting_rows_limit)",
        },
        Look(colours={"waiting": BLUE}, bound="limit"),
    )


def _cache() -> Iterator[Lines]:
    yield lines(
        "Cache of this route",
        "Share of rows answered from the cache.",
        "percentunit",
        {"rows from the cache": q.cached_share()},
        Look(colours={"rows from the cache": PURPLE}, maximum=1.0),
    )
    first = q.server_rate("sparing_cache_hits_total")
    missed = q.server_rate("sparing_cache_misses_total")
    second = q.server_rate("sparing_cache_remote_hits_total")
    absent = q.server_rate("sparing_cache_remote_misses_total")
    yield lines(
        "Cache hit rate of the server",
        "Share of look-ups that found an answer, all routes together.",
        "percentunit",
        {
            "local cache": f"{first} / ({first} + {missed})",
            "remote cache": f"{second} / ({second} + {absent})",
        },
        Look(maximum=1.0),
    )
    yield lines(
        "Size of the local cache",
        "All routes together, with the cache's own overhead.",
        "bytes",
        {"held": "sum(sparing_cache_bytes)", "limit": "sum(sparing_cache_limit_bytes)"},
        Look(colours={"held": PURPLE}, bound="limit"),
    )


def _energy() -> Iterator[Lines]:
    joules = q.rate("sparing_energy_joules_total", by="exit")
    computed = q.rate("sparing_rows_total", 'stopped_by!="cache"', by="exit")
    yield lines(
        "Power by exit",
        "Joules a second charged to rows, by the stage that answered.",
        "watt",
        {"{{exit}}": joules},
        STACKED,
    )
    yield lines(
        "Energy a row, by exit",
        "What a computed row costs that leaves here, with the stages before.",
        "joule",
        {"{{exit}}": f"{joules} / {computed}"},
    )
    yield lines(
        "Device time, by exit",
        "CPU seconds a second that rows took, by the stage that answered.",
        "percentunit",
        {"{{exit}}": q.rate("sparing_device_seconds_total", by="exit")},
        STACKED,
    )
