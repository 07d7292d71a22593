"""Alerts on causes: queues, devices, exits, cache, energy, and servers that do not answer."""

from dashboards.prometheus.options import Options
from dashboards.prometheus.rules import Alert, Group

FEW_ROWS = 200  # a share of fewer rows means little


def make_cause_group(options: Options) -> Group:
    alerts = [*_watch_queues(options), *_watch_shares(options), *_watch_parts(options)]
    return Group("sparing-causes", options.windows("30s"), alerts)


def _watch_queues(options: Options) -> list[Alert]:
    waiting = "sum by (job, instance, route) (sparing_waiting_rows)"
    batches = f"rate(sparing_batch_rows_count[{options.windows('2m')}])"
    return [
        options.alert(
            "SparingQueueSaturated",
            f"{waiting}\n  / on (job, instance) group_left\n"
            "max by (job, instance) (sparing_waiting_rows_limit) > 0.8",
            "2m",
            "page",
            "Route {{ $labels.route }} on {{ $labels.instance }} is about to reject requests",
            "Its queue is {{ $value | humanizePercentage }} full. A full queue rejects requests "
            "as Overloaded.",
        ),
        options.alert(
            "SparingRouteStalled",
            f"{waiting} > 0\nunless on (job, instance, route)\n"
            f"sum by (job, instance, route) ({batches}) > 0",
            "2m",
            "page",
            "Route {{ $labels.route }} on {{ $labels.instance }} computes nothing while rows wait",
            f"{{{{ $value }}}} rows wait, but no batch ran in {options.windows('2m')}.",
        ),
    ]


def _watch_shares(options: Options) -> list[Alert]:
    exits = "job_route_exit:sparing_rows:ratio_rate"
    cached = "job_route:sparing_cached_rows:ratio_rate"

    def enough(metric: str, window: str) -> str:
        written = options.windows(window)
        return (
            f"and on (job, route)\nsum by (job, route) (increase({metric}[{written}])) > {FEW_ROWS}"
        )

    return [
        options.alert(
            "SparingExitMixShift",
            f"sum by (job, route) (abs({exits}1h - {exits}1d)) / 2 > 0.2\n"
            + enough('sparing_rows_total{stopped_by!="cache"}', "1h"),
            "15m",
            "ticket",
            "Rows of route {{ $labels.route }} stop at other stages than before",
            "{{ $value | humanizePercentage }} of its rows stop elsewhere than in the last day.",
        ),
        options.alert(
            "SparingCacheHitCollapse",
            f"{cached}30m < 0.5 * {cached}1d\nand {cached}1d > 0.1\n"
            + enough("sparing_rows_total", "30m"),
            "15m",
            "ticket",
            "The cache hit rate of route {{ $labels.route }} fell below half of the last day's",
            "The cache answers {{ $value | humanizePercentage }} of the rows.",
        ),
    ]


def _watch_parts(options: Options) -> list[Alert]:
    served = f'{{job="{options.job}"}}'
    return [
        options.alert(
            "SparingStateMemoryFull",
            "max by (job, instance, device) (sparing_device_state_reserved_bytes)\n"
            "  / on (job, instance, device)\n"
            "max by (job, instance, device) (sparing_device_state_limit_bytes) > 0.9",
            "5m",
            "ticket",
            "Rows on {{ $labels.instance }} wait for memory of device {{ $labels.device }}",
            "{{ $value | humanizePercentage }} of its memory for rows' states is reserved, as for "
            "keys and values of answers under way.",
        ),
        options.alert(
            "SparingEnergySourceDegraded",
            "max by (job, instance) (sparing_energy_degraded) > 0",
            "5m",
            "ticket",
            "{{ $labels.instance }} cannot read its energy meter",
            "Joules are estimated until it can.",
        ),
        options.alert(
            "SparingRedisDown",
            "max by (job, instance) (sparing_cache_remote_breaker_open) > 0",
            "2m",
            "ticket",
            "{{ $labels.instance }} does not use the Redis cache for now",
            "Look-ups or stores failed repeatedly, so the server computes the rows instead.",
        ),
        options.alert(
            "SparingInstanceDown",
            f"up{served} == 0",
            "5m",
            "ticket",
            "{{ $labels.instance }} does not answer scrapes",
            "The process has ended, hangs or cannot be reached.",
        ),
        options.alert(
            "SparingAbsent",
            f"absent(sparing_build_info{served})",
            "2m",
            "page",
            "No Sparing server is running",
            "No server of the job answers scrapes.",
        ),
    ]
