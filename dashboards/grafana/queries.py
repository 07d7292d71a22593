"""PromQL queries that several panels share.

`by` is a list of labels such as "route", or "" for one number over all selected routes. The window
is Grafana's `$__rate_interval` unless a panel looks further back. `dashboards.grafana.panels`
formats the numbers.
"""

from monitoring.metrics.results import CLIENT_ERRORS

WINDOW = "$__rate_interval"
CHOSEN = 'route=~"$route"'
CHOSEN_OR_UNLABELLED = 'route=~"$route|"'  # with requests that failed before they had a route

VALID = f'result!~"{"|".join(CLIENT_ERRORS)}"'
FAULTY = f'result!~"{"|".join(("ok", *CLIENT_ERRORS))}"'


def rate(metric: str, *matchers: str, by: str = "", window: str = WINDOW, of: str = CHOSEN) -> str:
    """Growth per second of a counter, summed over the selected routes."""
    return total(f"rate({metric}{{{', '.join((of, *matchers))}}}[{window}])", by)


def server_rate(metric: str, *matchers: str, by: str = "") -> str:
    """The same for a counter without the label `route`."""
    chosen = f"{{{', '.join(matchers)}}}" if matchers else ""
    return total(f"rate({metric}{chosen}[{WINDOW}])", by)


def total(vector: str, by: str = "") -> str:
    return f"sum by ({by}) ({vector})" if by else f"sum({vector})"


def quantile(share: float, metric: str, by: str = "") -> str:
    buckets = rate(f"{metric}_bucket", by=f"{by}, le" if by else "le")
    return f"histogram_quantile({share}, {buckets})"


def mean(metric: str, by: str = "") -> str:
    """The mean observation of a histogram."""
    return f"{rate(f'{metric}_sum', by=by)} / {rate(f'{metric}_count', by=by)}"


def answered(by: str = "", window: str = WINDOW, of: str = CHOSEN) -> str:
    """The share of valid requests that were answered."""
    good = rate("sparing_requests_total", 'result="ok"', by=by, window=window, of=of)
    return f"{good} / {rate('sparing_requests_total', VALID, by=by, window=window, of=of)}"


def failed(by: str = "", window: str = WINDOW) -> str:
    """The share of valid requests that failed."""
    return f"1 - {answered(by, window)}"


def fast(by: str = "", window: str = WINDOW) -> str:
    """The share of rows within the latency bound selected on the dashboard."""
    good = rate("sparing_latency_seconds_bucket", 'le="$bound"', by=by, window=window)
    return f"{good} / {rate('sparing_latency_seconds_count', by=by, window=window)}"


def slow(by: str = "", window: str = WINDOW) -> str:
    return f"1 - {fast(by, window)}"


def saved(by: str = "") -> str:
    """The share of MACs saved, compared with the full model for every answered row.

    Rows from the cache count. Below 0 the routes use more compute than their full models.
    `sparing report` shows the same figure.
    """
    return f"1 - {rate('sparing_macs_total', by=by)} / {rate('sparing_full_macs_total', by=by)}"


def joules_a_request(by: str = "") -> str:
    spent = rate("sparing_energy_joules_total", by=by)
    answers = rate("sparing_requests_total", 'result="ok"', by=by)
    return f"{spent} / {answers}"


def saved_watts() -> str:
    """Watts saved, an estimate: every answered row takes the time of one row in its route's
    slowest stage, less the watts used. Not by MACs: a small net uses more joules per MAC.
    """
    joules = rate("sparing_energy_joules_total", by="route")
    seconds = rate("sparing_stage_seconds_sum", by="route")
    a_row = f"max by (route) ({mean_row_seconds()})"
    answered = rate("sparing_rows_total", by="route")
    each = f"{joules} / {seconds} * {a_row} * {answered} - {joules}"
    return f"sum(({each}) > -1000000) or vector(0)"  # a route without traffic is 0 / 0, NaN


def mean_row_seconds() -> str:
    """Mean device seconds of a row, by route and stage."""
    seconds = rate("sparing_stage_seconds_sum", by="route, stage")
    return f"{seconds} / {rate('sparing_batch_rows_sum', by='route, stage')}"


def cached_share(by: str = "") -> str:
    """The share of rows answered from the cache."""
    hits = rate("sparing_rows_total", 'stopped_by="cache"', by=by)
    rows = rate("sparing_rows_total", by=by)
    return f"({hits} or 0 * {rows}) / {rows}"


def waiting() -> str:
    """The fill level of the selected routes' fullest lane, from 0 to 1."""
    rows, limit = (
        f"max by (job, instance) ({name})"
        for name in (f"sparing_waiting_rows{{{CHOSEN}}}", "sparing_waiting_rows_limit")
    )
    return f"max({rows} / {limit})"


def state() -> str:
    """0: well; 1: strained (slow, or lanes nearly full); 2: failing (failures, or no server)."""
    signs = (
        f"2 * (((1 - {answered(of=CHOSEN_OR_UNLABELLED)}) > bool 0.01) or vector(0))",
        f"(({quantile(0.99, 'sparing_latency_seconds')} > bool 0.25) or vector(0))",
        f"((({waiting()}) > bool 0.8) or vector(0))",
        "2 * (absent(sparing_build_info) or vector(0))",
    )
    return f"clamp_max({' + '.join(signs)}, 2)"
