"""Recordings that dashboards and alerts share: traffic, latency, exits, cache, MACs and joules."""

from dashboards.prometheus.options import Options
from dashboards.prometheus.rules import Group, Recording, Rule

_COMPUTED = 'sparing_rows_total{stopped_by!="cache"}'


def make_traffic_groups(options: Options) -> list[Group]:
    """Make two groups: frequent queries, and those over a day, which are expensive and run less."""
    windows = options.windows
    often: list[Rule] = [
        *_make_rates(windows("5m")),
        *_make_savings(windows("5m")),
        *(_make_exit_share(name, windows(name)) for name in ("5m", "1h")),
        *(_make_cached_share(name, windows(name)) for name in ("5m", "30m")),
    ]
    daily: list[Rule] = [
        _make_exit_share("1d", windows("1d")),
        _make_cached_share("1d", windows("1d")),
    ]
    return [
        Group("sparing-traffic", windows("30s"), often),
        Group("sparing-traffic-daily", windows("2m"), daily),
    ]


def _make_rates(window: str) -> list[Recording]:
    def rate(metric: str, labels: str = "job, route") -> str:
        return f"sum by ({labels}) (rate({metric}[{window}]))"

    def quantile(share: float, metric: str) -> str:
        return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'job, route, le')})"

    return [
        Recording("job_route:sparing_requests:rate5m", rate("sparing_requests_total")),
        Recording("job_route:sparing_rows:rate5m", rate("sparing_rows_total")),
        Recording(
            "job_route:sparing_latency_seconds:p50_rate5m", quantile(0.5, "sparing_latency_seconds")
        ),
        Recording(
            "job_route:sparing_latency_seconds:p99_rate5m",
            quantile(0.99, "sparing_latency_seconds"),
        ),
        Recording(
            "job_route:sparing_queue_seconds:p99_rate5m", quantile(0.99, "sparing_queue_seconds")
        ),
        Recording(
            "job_route_stage:sparing_batch_rows:mean_rate5m",
            f"{rate('sparing_batch_rows_sum', 'job, route, stage')}\n"
            f"  / {rate('sparing_batch_rows_count', 'job, route, stage')}",
        ),
    ]


def _make_savings(window: str) -> list[Recording]:
    def rate(metric: str, labels: str) -> str:
        return f"sum by ({labels}) (rate({metric}[{window}]))"

    joules = rate("sparing_energy_joules_total", "job, route, source")
    return [
        Recording(
            "job_route:sparing_macs_saved:ratio_rate5m",
            f"1 - {rate('sparing_macs_total', 'job, route')}\n"
            f"  / {rate('sparing_full_macs_total', 'job, route')}",
        ),
        Recording("job_route_source:sparing_energy_watts:rate5m", joules),
        Recording(
            "job_route_source:sparing_row_joules:ratio_rate5m",
            f"{joules}\n  / on (job, route) group_left\n{rate('sparing_rows_total', 'job, route')}",
        ),
        Recording(
            "job_account_source:sparing_energy_account_watts:rate5m",
            rate("sparing_energy_account_joules_total", "job, account, source"),
        ),
    ]


def _make_exit_share(name: str, window: str) -> Recording:
    """The share of computed rows that each exit answered."""
    return Recording(
        f"job_route_exit:sparing_rows:ratio_rate{name}",
        f"sum by (job, route, exit) (rate({_COMPUTED}[{window}]))\n"
        "  / on (job, route) group_left\n"
        f"sum by (job, route) (rate({_COMPUTED}[{window}]))",
    )


def _make_cached_share(name: str, window: str) -> Recording:
    """The share of all rows that the caches answered."""
    return Recording(
        f"job_route:sparing_cached_rows:ratio_rate{name}",
        f'sum by (job, route) (rate(sparing_rows_total{{stopped_by="cache"}}[{window}]))\n'
        f"  / sum by (job, route) (rate(sparing_rows_total[{window}]))",
    )
