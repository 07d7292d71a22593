"""What `sparing simulate` needs beside the simulation: costs of a running server, tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from simulation.autoscaling import Policy, parse_policy
from simulation.costs import (
    Costs,
    add_counts,
    choose_routes,
    parse_costs,
    read_costs,
    require_complete,
    set_escalation,
)
from simulation.results import Bucket, Summary
from sparing.access import NO_ACCESS, Access
from sparing.client import request_json
from sparing.failure import Failure
from sparing.report.sources import ServerSource


@contextmanager
def failing_with_sentence() -> Iterator[None]:
    """Turn the ValueError of wrong input into a Failure."""
    try:
        yield
    except ValueError as error:
        raise Failure(str(error), exit_code=2) from error


def gather_costs(
    *,
    url: str | None,
    access: Access = NO_ACCESS,
    file: Path | None,
    shares: Mapping[str, float | None],
    rates: Mapping[str, float],
    hit_rate: float | None,
    overhead_ms: float | None,
) -> Costs:
    """Return the costs of a server or of a file, changed by other options. Raises ValueError."""
    if (url is None) == (file is None):
        raise ValueError("costs: give one of --url URL and --costs FILE")
    costs = read_costs(file) if file is not None else read_server(url or "", access)
    costs = set_escalation(choose_routes(costs, shares), rates)
    if hit_rate is not None:
        routes = tuple(replace(route, hit_rate=hit_rate) for route in costs.routes)
        costs = replace(costs, routes=routes)
    if overhead_ms is not None:
        costs = replace(costs, overhead_ms=overhead_ms)
    require_complete(costs)
    return costs


def read_server(url: str, access: Access = NO_ACCESS) -> Costs:
    """Return the costs of a running server, with what it counted since its start."""
    address = url.rstrip("/")
    costs = parse_costs(request_json(address, "/v1/routes", access=access), f"{url}/v1/routes")
    counters = ServerSource(address, access)

    def read(counter: str, label: str) -> dict[tuple[str, str], float]:
        grown = counters.grown(counter, ("route", label))
        return {(route, value): count for (route, value), count in grown.items()}

    return add_counts(
        costs,
        read("sparing_escalations_total", "stage"),
        read("sparing_batch_rows_sum", "stage"),
        read("sparing_rows_total", "stopped_by"),
    )


def read_shares(texts: Sequence[str]) -> dict[str, float | None]:
    """Read `ROUTE` or `ROUTE=SHARE`. Raises ValueError."""
    shares: dict[str, float | None] = {}
    for text in texts:
        name, given, share = text.partition("=")
        shares[name] = _read_number("--route", text, share, 1e9) if given else None
    return shares


def read_rates(texts: Sequence[str]) -> dict[str, float]:
    """Read `STAGE=RATE`. Raises ValueError."""
    rates = {}
    for text in texts:
        name, _, rate = text.partition("=")
        rates[name] = _read_number("--escalation", text, rate, 1.0)
    return rates


def read_policies(option: str, texts: Sequence[str] | None) -> tuple[Policy, ...]:
    """Read policies of scaling. Raises ValueError."""
    try:
        return tuple(parse_policy(text) for text in texts or ())
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def make_tables(summary: Summary) -> tuple[Table, Table]:
    """Return the table of time buckets, and that of totals."""
    buckets = Table(box=None)
    for name in ("time", "ready pods", "requests/s", "p50 ms", "p99 ms", "busy", "in flight"):
        buckets.add_column(name, justify="right")
    for bucket in summary.buckets:
        buckets.add_row(*_list_cells(bucket))
    totals = Table(box=None, show_header=False)
    totals.add_column(no_wrap=True)
    totals.add_column()
    for name, value in _list_totals(summary).items():
        totals.add_row(name, value)
    return buckets, totals


def _list_cells(bucket: Bucket) -> list[str]:
    return [
        _show_time(bucket.start_s),
        f"{bucket.replicas:.1f}",
        f"{bucket.requests_s:,.1f}",
        "" if bucket.p50_ms is None else f"{bucket.p50_ms:,.2f}",
        "" if bucket.p99_ms is None else f"{bucket.p99_ms:,.2f}",
        f"{bucket.busy:.0%}",
        f"{bucket.in_flight:,.1f}",
    ]


def _list_totals(summary: Summary) -> dict[str, str]:
    totals = summary.totals
    rows = {
        "requests": f"{totals.requests:,} in {totals.seconds:,.0f} s, {totals.requests_s:,.1f}/s",
        "latency": f"p50 {totals.p50_ms:,.2f} ms, p99 {totals.p99_ms:,.2f} ms, "
        f"longest {totals.max_ms:,.2f} ms",
        "devices": f"{totals.busy:.0%} busy, {totals.mean_batch_rows:.1f} rows a batch",
        "pods": f"{totals.pod_hours:,.2f} pod-hours, at most {totals.most_replicas} ready at once",
    }
    if totals.price is not None and totals.price_per_million is not None:
        rows["cost"] = f"{totals.price:,.4g}; {totals.price_per_million:,.4g} per million requests"
    if totals.joules is not None and totals.joules_per_request is not None:
        rows["energy"] = f"{totals.joules:,.0f} J, {totals.joules_per_request:.3g} J per request"
        rows["energy"] += " (an estimate from the watts given)"
    return rows


def _show_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _read_number(option: str, text: str, number: str, most: float) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= most:
        raise ValueError(f"{option}: given {text!r}, allowed NAME=NUMBER with 0 to {most:g}")
    return value
