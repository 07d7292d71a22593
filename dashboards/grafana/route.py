"""The dashboard Route: exits, stages, batches, cache, energy and tokens of one route."""

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
    text = "One route: exits, stages, batches, cache, energy, tokens."
    board = new_dashboard("route", "Route", text, one_route=True)
    rows = (_first_look(), _answers(), _exits(), _stages(), _costs(), _batches(), _cache())
    lay_out(board, *rows, _energy(), _tokens(), _generation())
    return board


def _first_look() -> Iterator[Tile]:
    info = f"sparing_route_info{{{q.CHOSEN}}}"
    yield named_tile("Pipeline", "The kind of pipeline that the route runs.", info, "pipeline")
    text = "Compared with the full model for every row."
    yield tile("Compute saved", text, q.saved(), "percentunit", SAVED)
    text = "Share of valid requests that were answered."
    yield tile("Answered", text, q.answered(), "percentunit", ANSWERED, decimals=2)
    p99 = q.quantile(0.99, "sparing_latency_seconds")
    yield tile("p99 latency", "1 % of rows are slower.", p99, "s", SECONDS)
    yield tile("Rows", "Answers per second.", q.rate("sparing_rows_total"), "rowsps")
    spent = q.joules_a_request()
    text = "Joules that rows used, per answered request."
    yield tile("Energy per request", text, spent, "joule")


def _exits() -> Iterator[Lines]:
    rows = q.rate("sparing_rows_total")
    yield lines(
        "Exit mix",
        "Share of rows by the stage that answered, or by budget. Late exits mean harder inputs.",
        "percentunit",
        {"{{exit}}": f"{q.rate('sparing_rows_total', by='exit')} / on() group_left {rows}"},
        SHARES,
    )
    stops = q.rate("sparing_rows_total", by="stopped_by")
    yield lines(
        "Why rows stopped",
        "Share of rows: confident enough, last stage, deadline, energy budget, from the cache.",
        "percentunit",
        {"{{stopped_by}}": f"{stops} / on() group_left {rows}"},
        Look(colours=STOPS, stacked=True, maximum=1.0),
    )
    yield lines(
        "Escalations",
        "Rows per second that continued from a stage to another one.",
        "rowsps",
        {"from {{stage}}": q.rate("sparing_escalations_total", by="stage")},
    )


def _stages() -> Iterator[Lines]:
    yield lines(
        "Latency by exit, p99",
        "Time from a row's arrival in the engine to its answer.",
        "s",
        {"{{exit}}": q.quantile(0.99, "sparing_latency_seconds", "exit")},
        Look(exemplars=True),
    )
    yield lines(
        "Stage latency",
        "Time that a stage takes for one batch.",
        "s",
        {
            "{{stage}} p50": q.quantile(0.5, "sparing_stage_seconds", "stage"),
            "{{stage}} p99": q.quantile(0.99, "sparing_stage_seconds", "stage"),
        },
    )
    yield lines(
        "Queue time, p99",
        "Time that a row waits in a stage's lane.",
        "s",
        {"{{stage}}": q.quantile(0.99, "sparing_queue_seconds", "stage")},
    )


def _costs() -> Iterator[Lines]:
    """Of a route with a budget for each row, exits are steps of the budget."""
    computed = q.rate("sparing_rows_total", 'stopped_by!="cache"', by="exit")
    yield lines(
        "Compute per row, by exit",
        "MACs of a computed row that stops at this exit, or that has this budget.",
        "si: MAC",
        {"{{exit}}": f"{q.rate('sparing_macs_total', by='exit')} / {computed}"},
    )
    yield lines(
        "Device time per row, by exit",
        "CPU seconds of a computed row that stops at this exit, or that has this budget.",
        "s",
        {"{{exit}}": f"{q.rate('sparing_device_seconds_total', by='exit')} / {computed}"},
    )
    yield lines(
        "Latency by exit, mean",
        "Time from a row's arrival to its answer; rows from the cache count.",
        "s",
        {"{{exit}}": q.mean("sparing_latency_seconds", "exit")},
    )


def _answers() -> Iterator[Lines]:
    yield lines(
        "Requests by result",
        "ok, or the error; errors of callers and of the server.",
        "reqps",
        {"{{result}}": q.rate("sparing_requests_total", by="result")},
        Look(colours={"ok": GREEN}),
    )
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    yield lines(
        "Latency",
        "Time from a row's arrival in the engine to its answer, over all exits.",
        "s",
        {name: q.quantile(share, "sparing_latency_seconds") for name, share in shares.items()},
    )
    yield lines(
        "Compute",
        "MACs used, and those that the same rows need on the full model alone.",
        "si: MAC/s",
        {
            "spent": q.rate("sparing_macs_total"),
            "full model": q.rate("sparing_full_macs_total"),
        },
        Look(colours={"spent": GREEN}, bound="full model"),
    )


def _batches() -> Iterator[Lines]:
    yield lines(
        "Rows per batch, mean",
        "Larger batches cost less per row.",
        "short",
        {"{{stage}}": q.mean("sparing_batch_rows", "stage")},
    )
    yield lines(
        "Lane, busy",
        "Share of time in which a stage computes. Near 100 % rows begin to wait.",
        "percentunit",
        {"{{stage}}": q.rate("sparing_stage_seconds_sum", by="stage")},
        STACKED,
    )
    yield lines(
        "Waiting rows",
        "Rows in the route's lanes. At the limit the server rejects requests as Overloaded.",
        "short",
        {
            "waiting": f"sum(sparing_waiting_rows{{{q.CHOSEN}}})",
            "limit": "min(sparing_waiting_rows_limit)",
        },
        Look(colours={"waiting": BLUE}, bound="limit"),
    )


def _cache() -> Iterator[Lines]:
    yield lines(
        "Cache hits of this route",
        "Share of rows answered from the cache.",
        "percentunit",
        {"rows from cache": q.cached_share()},
        Look(colours={"rows from cache": PURPLE}, maximum=1.0),
    )
    first = q.server_rate("sparing_cache_hits_total")
    missed = q.server_rate("sparing_cache_misses_total")
    second = q.server_rate("sparing_cache_remote_hits_total")
    absent = q.server_rate("sparing_cache_remote_misses_total")
    yield lines(
        "Cache hits of the server",
        "Share of lookups that found an answer, all routes: in the process, and in Redis.",
        "percentunit",
        {
            "in process": f"{first} / ({first} + {missed})",
            "Redis": f"{second} / ({second} + {absent})",
        },
        Look(maximum=1.0),
    )
    yield lines(
        "Cache size",
        "Bytes of the answers of all routes, with the cache's overhead.",
        "bytes",
        {"held": "sum(sparing_cache_bytes)", "limit": "sum(sparing_cache_limit_bytes)"},
        Look(colours={"held": PURPLE}, bound="limit"),
    )


def _energy() -> Iterator[Lines]:
    joules = q.rate("sparing_energy_joules_total", by="exit")
    computed = q.rate("sparing_rows_total", 'stopped_by!="cache"', by="exit")
    yield lines(
        "Power by exit",
        "Joules per second that rows used, by the stage that answered.",
        "watt",
        {"{{exit}}": joules},
        STACKED,
    )
    yield lines(
        "Energy per row, by exit",
        "Joules of a computed row that stops at this exit, with all stages before.",
        "joule",
        {"{{exit}}": f"{joules} / {computed}"},
    )
    yield lines(
        "Device time, by exit",
        "CPU seconds per second that rows used, by the stage that answered.",
        "percentunit",
        {"{{exit}}": q.rate("sparing_device_seconds_total", by="exit")},
        STACKED,
    )


def _tokens() -> Iterator[Lines]:
    """Of a route that answers in tokens."""
    shares = {"p50": 0.5, "p95": 0.95}
    yield lines(
        "Time to first token",
        "From a row's arrival in the engine. Only routes that answer in tokens have this.",
        "s",
        {name: q.quantile(share, "sparing_first_token_seconds") for name, share in shares.items()},
    )
    yield lines(
        "Time per token",
        "For each token of an answer after the first.",
        "s",
        {name: q.quantile(share, "sparing_token_seconds") for name, share in shares.items()},
    )
    yield lines(
        "Tokens",
        "Tokens per second, of prompts and of answers.",
        "short",
        {
            "prompts": q.rate("sparing_prompt_tokens_total"),
            "answers": q.rate("sparing_generated_tokens_total"),
        },
    )


def _generation() -> Iterator[Lines]:
    seen = q.rate("sparing_visual_tokens_total")
    yield lines(
        "Visual tokens kept",
        "Share of the pictures' tokens that a layer reads, on average over layers.",
        "percentunit",
        {"kept": f"{q.rate('sparing_visual_tokens_kept_total')} / {seen}"},
        Look(colours={"kept": GREEN}, maximum=1.0),
    )
    yield lines(
        "Prefill and decode",
        "Device seconds per second, by stage and by share of visual tokens.",
        "percentunit",
        {"{{stage}} {{exit}}": q.rate("sparing_generation_device_seconds_total", by="stage, exit")},
        STACKED,
    )
    yield lines(
        "Power of prefill and decode",
        "Joules per second, estimated from device time, by stage and by share of visual tokens.",
        "watt",
        {"{{stage}} {{exit}}": q.rate("sparing_generation_energy_joules_total", by="stage, exit")},
        STACKED,
    )
    generated = q.rate("sparing_generated_tokens_total")
    yield lines(
        "Energy per token",
        "Joules of prefill and decode for each token of an answer, estimated from device time.",
        "joule",
        {"joules": f"{q.rate('sparing_generation_energy_joules_total')} / {generated}"},
        Look(colours={"joules": YELLOW}),
    )
    answers = q.rate("sparing_first_token_seconds_count")
    yield lines(
        "Length",
        "Tokens of a prompt, visual tokens included, and of an answer, on average.",
        "short",
        {
            "prompt": f"{q.rate('sparing_prompt_tokens_total')} / {answers}",
            "answer": f"{generated} / {answers}",
        },
    )
    yield lines(
        "Memory for states",
        "Bytes of keys and values of answers under way, all routes of the device.",
        "bytes",
        {
            "used": "sum(sparing_device_state_bytes)",
            "reserved": "sum(sparing_device_state_reserved_bytes)",
            "limit": "sum(sparing_device_state_limit_bytes)",
        },
        Look(colours={"used": PURPLE, "reserved": YELLOW}, bound="limit"),
    )
