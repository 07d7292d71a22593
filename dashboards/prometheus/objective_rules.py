"""Rules of the objectives: shares of failed requests and slow rows per window, and their alerts."""

from collections.abc import Iterator
from dataclasses import dataclass

from dashboards.prometheus.objectives import BURNS, FAST_WINDOWS, SLOW_WINDOWS, BurnRate
from dashboards.prometheus.options import Options
from dashboards.prometheus.rules import Alert, Group, Recording, Rule
from monitoring.metrics.results import CLIENT_ERRORS


@dataclass(frozen=True, slots=True)
class _Kind:
    """One objective: what it counts, which part is good, and the words of its alert."""

    alert: str
    record: str  # the share that is bad; the window's name follows
    good: str
    all: str
    target: float
    bad_events: str

    def share(self, window: str, written: str) -> Recording:
        good, all_ones = (
            f"sum by (job, route) (rate({selector}[{written}]))"
            for selector in (self.good, self.all)
        )
        return Recording(f"{self.record}{window}", f"1 - {good}\n  / {all_ones}")

    def alert_on(self, burn: BurnRate, options: Options) -> Alert:
        limit = f"{burn.rate:g} * {1.0 - self.target:.6g}"
        name = self.alert.removeprefix("Sparing").removesuffix("Burn").lower()
        return options.alert(
            self.alert,
            f"{self.record}{burn.long} > {limit}\nand\n{self.record}{burn.short} > {limit}",
            burn.for_duration,
            burn.severity,
            f"Route {{{{ $labels.route }}}} burns its {name} budget"
            + (f" over {burn.rate:g} times too fast" if burn.rate > 1 else " too fast"),
            f"{{{{ $value | humanizePercentage }}}} of its {self.bad_events} within "
            f"{options.windows(burn.long)}, and it goes on. The objective allows "
            f"{100 * (1 - self.target):g}%.",
            window=burn.long,
        )


def _kinds(options: Options) -> tuple[_Kind, _Kind]:
    objectives = options.objectives
    callers = "|".join(CLIENT_ERRORS)
    return (
        _Kind(
            "SparingAvailabilityBurn",
            "job_route:sparing_request_errors:ratio_rate",
            'sparing_requests_total{result="ok"}',
            f'sparing_requests_total{{result!~"{callers}"}}',
            objectives.availability,
            "requests failed",
        ),
        _Kind(
            "SparingLatencyBurn",
            "job_route:sparing_slow_rows:ratio_rate",
            f'sparing_latency_seconds_bucket{{le="{objectives.latency_s}"}}',
            "sparing_latency_seconds_count",
            objectives.latency,
            f"rows took more than {objectives.latency_s:g} s",
        ),
    )


def make_objective_groups(options: Options) -> Iterator[Group]:
    """Make the groups. Long windows are in their own group, which runs less often."""
    windows, kinds = options.windows, _kinds(options)
    slow: list[Rule] = [kind.share(name, windows(name)) for kind in kinds for name in SLOW_WINDOWS]
    yield Group("sparing-objectives-slow", windows("2m"), slow)
    fast: list[Rule] = [kind.share(name, windows(name)) for kind in kinds for name in FAST_WINDOWS]
    fast += [kind.alert_on(burn, options) for kind in kinds for burn in BURNS]
    yield Group("sparing-objectives", windows("30s"), fast)
