"""The autoscaler of Kubernetes: from metrics to replicas, slowed by windows and policies.

The formulas are those of the HorizontalPodAutoscaler v2 (tolerance, pods without a metric,
stabilisation windows, policies by period). KEDA gives the same autoscaler a sum over pods instead
of a value for each pod; nothing else differs here, as long as there is always a pod.
"""

import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

ScalerKind = Literal["keda", "hpa", "none"]
_ROUNDING = 1e-9  # a ratio that is whole but for its last bits is whole


class Metric(NamedTuple):
    """A metric summed over ready pods, and its target for each pod."""

    total: float
    target: float


@dataclass(frozen=True, slots=True)
class Policy:
    """At most so many pods, or per cent of the pods, in a period."""

    value: float
    period_s: float
    is_percent: bool

    def grow(self, replicas: int) -> int:
        """Return the most replicas that a period may end with if it began with `replicas`."""
        if self.is_percent:
            return math.ceil(replicas * (1 + self.value / 100) - _ROUNDING)
        return replicas + int(self.value)

    def shrink(self, replicas: int) -> int:
        """Return the fewest."""
        if self.is_percent:
            return int(replicas * (1 - self.value / 100) + _ROUNDING)
        return replicas - int(self.value)


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """The settings of an autoscaler; the defaults are those of the manifests in `k8s/`."""

    kind: ScalerKind = "keda"
    min_replicas: int = 2
    max_replicas: int = 10
    tolerance: float = 0.1
    polling_s: float = 15.0
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    up_policies: tuple[Policy, ...] = (Policy(100, 30, True), Policy(2, 30, False))
    down_policies: tuple[Policy, ...] = (Policy(25, 60, True),)


def parse_policy(text: str) -> Policy:
    """Read `100%/30` (per cent) or `2/30` (pods), both in 30 seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,6})(%?)/(\d{1,5})", text)
    if found is None or int(found[3]) == 0:
        raise ValueError(
            f"given {text!r}, allowed pods or per cent in so many seconds, as in 2/30 or 100%/30"
        )
    return Policy(int(found[1]), int(found[3]), bool(found[2]))


def propose_by_sum(metric: Metric, replicas: int, tolerance: float) -> int:
    """Return the replicas for an external metric with an average value: the sum over the target."""
    ratio = metric.total / (metric.target * replicas)
    if abs(1.0 - ratio) <= tolerance:
        return replicas
    return _round_up(metric.total / metric.target)


def propose_by_pods(metric: Metric, ready: int, starting: int, tolerance: float) -> int:
    """Return the replicas for a metric of each pod. Pods that are starting have none: they count
    as idle where the fleet would grow, and as being at the target where it would shrink.
    """
    replicas = ready + starting
    ratio = metric.total / (metric.target * ready)
    if starting == 0:
        return replicas if abs(1.0 - ratio) <= tolerance else _round_up(ratio * ready)
    total = metric.total + (starting * metric.target if ratio < 1.0 else 0.0)
    corrected = total / (metric.target * replicas)
    if abs(1.0 - corrected) <= tolerance or (ratio < 1.0) != (corrected < 1.0):
        return replicas
    return _round_up(corrected * replicas)


class Autoscaler:
    """Remembers its recommendations and changes; `decide` is called once a polling interval."""

    def __init__(self, rules: ScalingRules) -> None:
        self.rules = rules
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()  # when, and by how many replicas

    def decide(self, now_s: float, metrics: Sequence[Metric], ready: int, starting: int) -> int:
        """Return how many replicas there should be, of `ready + starting` that there are."""
        replicas = ready + starting
        if self.rules.kind == "none":
            return replicas
        proposed = max(self._propose(metric, ready, starting) for metric in metrics)
        wanted = self._limit(now_s, replicas, self._stabilise(now_s, replicas, proposed))
        wanted = min(max(wanted, self.rules.min_replicas), self.rules.max_replicas)
        if wanted != replicas:
            self._changes.append((now_s, wanted - replicas))
        return wanted

    def _propose(self, metric: Metric, ready: int, starting: int) -> int:
        tolerance = self.rules.tolerance
        if self.rules.kind == "keda":
            return propose_by_sum(metric, ready + starting, tolerance)
        return propose_by_pods(metric, ready, starting, tolerance)

    def _stabilise(self, now_s: float, replicas: int, proposed: int) -> int:
        """Grow to the least, and shrink to the most, that was recommended within the windows."""
        self._recommended.append((now_s, proposed))
        up_s, down_s = self.rules.up_window_s, self.rules.down_window_s
        while self._recommended[0][0] <= now_s - max(up_s, down_s) and len(self._recommended) > 1:
            self._recommended.popleft()
        least = min([proposed, *(n for at, n in self._recommended if at > now_s - up_s)])
        most = max([proposed, *(n for at, n in self._recommended if at > now_s - down_s)])
        return min(max(replicas, least), most)

    def _limit(self, now_s: float, replicas: int, wanted: int) -> int:
        """Apply the policies: the one that allows the largest change counts."""
        if wanted > replicas:
            limits = [
                policy.grow(self._count_before(now_s, replicas, policy.period_s))
                for policy in self.rules.up_policies
            ]
            return min(wanted, max([replicas, *limits])) if limits else wanted
        if wanted < replicas:
            limits = [
                policy.shrink(self._count_before(now_s, replicas, policy.period_s))
                for policy in self.rules.down_policies
            ]
            return max(wanted, min([replicas, *limits])) if limits else wanted
        return wanted

    def _count_before(self, now_s: float, replicas: int, period_s: float) -> int:
        return replicas - sum(by for at, by in self._changes if at > now_s - period_s)


def _round_up(value: float) -> int:
    return math.ceil(value - _ROUNDING)
