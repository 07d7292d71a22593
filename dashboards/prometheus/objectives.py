"""The objectives of every route: the share of requests answered, and the share of rows in time.

At burn rate 1 the error budget lasts exactly its period. Each alert needs a high burn rate in a
long window, which shows that it matters, and in a short one, which shows that it still lasts (The
Site Reliability Workbook, chapter 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.prometheus.rules import Severity
from monitoring.metrics.counts import SECONDS


@dataclass(frozen=True, slots=True)
class BurnRate:
    """A burn rate, with the long and the short window in which an alert needs it."""

    rate: float
    long: str
    short: str
    for_duration: str
    severity: Severity


BURNS: Sequence[BurnRate] = (
    BurnRate(14.4, "1h", "5m", "1m", "page"),  # 2 % of a 30 days' budget in an hour
    BurnRate(6.0, "6h", "30m", "5m", "page"),  # 5 % in six hours
    BurnRate(3.0, "1d", "2h", "15m", "ticket"),  # 10 % in a day
    BurnRate(1.0, "3d", "6h", "30m", "ticket"),  # 10 % in three days
)
FAST_WINDOWS = ("5m", "30m", "1h", "2h", "6h")
SLOW_WINDOWS = ("1d", "3d")  # expensive to compute, so less often


@dataclass(frozen=True, slots=True)
class Objectives:
    """Shares that must be good. Raises ValueError for an objective that cannot be measured."""

    availability: float = 0.999
    latency: float = 0.99
    latency_s: float = 0.1

    def __post_init__(self) -> None:
        for name in ("availability", "latency"):
            share = getattr(self, name)
            if not 0.5 <= share < 1.0:
                raise ValueError(f"{name}: given {share}, allowed 0.5 to below 1")
        if self.latency_s not in SECONDS:
            bounds = ", ".join(f"{bound:g}" for bound in SECONDS)
            raise ValueError(f"latency_s: given {self.latency_s:g}, allowed {bounds}")
