"""What a rollout's metrics say about its two versions, from servers or a Prometheus."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monitoring.metrics.results import CLIENT_ERRORS
from sparing.failure import Failure
from sparing.report.sources import ReportSource

ROLES = ("stable", "canary")
_GONE = "ClientGone"  # neither answered nor failed


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: the count of each bucket alone, and the sum of what was observed."""

    bounds: Sequence[float] = ()  # upper ones, the last is infinite
    counts: Sequence[float] = ()
    total: float = 0.0

    @property
    def observed(self) -> int:
        return round(sum(self.counts))

    @property
    def mean(self) -> float:
        """NaN without observations."""
        return self.total / sum(self.counts) if sum(self.counts) else math.nan

    def since(self, earlier: "Buckets") -> "Buckets":
        if not earlier.counts:
            return self
        counts = [now - old for now, old in zip(self.counts, earlier.counts, strict=True)]
        return Buckets(self.bounds, counts, self.total - earlier.total)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one version answered in its role."""

    results: Mapping[str, float] = field(default_factory=dict)  # requests by result
    latency: Buckets = Buckets()  # in seconds, of computed rows
    joules: Buckets = Buckets()  # of a computed row
    rows: float = 0.0
    macs: float = 0.0

    @property
    def requests(self) -> int:
        """Requests that ended, without those whose client left."""
        return round(sum(self.results.values()) - self.results.get(_GONE, 0.0))

    @property
    def failed(self) -> int:
        """Requests that failed by the server."""
        return round(
            sum(
                count
                for result, count in self.results.items()
                if result != "ok" and result not in CLIENT_ERRORS
            )
        )

    @property
    def refused(self) -> int:
        """Requests that the server refused as wrong."""
        return self.requests - self.failed - round(self.results.get("ok", 0.0))

    def since(self, earlier: "Sample") -> "Sample":
        """Return what came after an earlier sample; everything if the counts began anew."""
        results = {
            name: count - earlier.results.get(name, 0.0) for name, count in self.results.items()
        }
        if min([*results.values(), self.rows - earlier.rows]) < 0:
            return self
        return Sample(
            results,
            self.latency.since(earlier.latency),
            self.joules.since(earlier.joules),
            self.rows - earlier.rows,
            self.macs - earlier.macs,
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """Both roles of one route."""

    stable: Sample
    canary: Sample

    def since(self, earlier: "Samples") -> "Samples":
        return Samples(self.stable.since(earlier.stable), self.canary.since(earlier.canary))


Look = Callable[[], Samples]


def read_samples(sources: Sequence[ReportSource], route: str) -> Samples:
    """Add up what several sources say. Raises Failure if one cannot be read, or none knows a
    rollout of the route.
    """
    summed: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels in _SERIES.items():
        summed[name] = {}
        for source in sources:
            for (of, *rest), value in source.grown(name, ("route", "role", *labels)).items():
                if of == route:
                    key = tuple(rest)
                    summed[name][key] = summed[name].get(key, 0.0) + value
    if not summed[_REQUESTS]:
        raise Failure(
            f"no server counts a rollout of route {route!r}: does it serve both versions, and does "
            "the rollout file stand beside them?"
        )
    stable, canary = (_read_role(summed, role) for role in ROLES)
    return Samples(stable, canary)


_REQUESTS = "sparing_rollout_requests_total"
_ROWS = "sparing_rollout_rows_total"
_MACS = "sparing_rollout_macs_total"
_LATENCY = "sparing_rollout_latency_seconds"
_JOULES = "sparing_rollout_row_joules"
_SERIES: Mapping[str, tuple[str, ...]] = {
    _REQUESTS: ("result",),
    _ROWS: (),
    _MACS: (),
    f"{_LATENCY}_bucket": ("le",),
    f"{_LATENCY}_sum": (),
    f"{_JOULES}_bucket": ("le",),
    f"{_JOULES}_sum": (),
}


def _read_role(summed: Mapping[str, Mapping[tuple[str, ...], float]], role: str) -> Sample:
    return Sample(
        {key[1]: value for key, value in summed[_REQUESTS].items() if key[0] == role},
        _read_buckets(summed, _LATENCY, role),
        _read_buckets(summed, _JOULES, role),
        summed[_ROWS].get((role,), 0.0),
        summed[_MACS].get((role,), 0.0),
    )


def _read_buckets(
    summed: Mapping[str, Mapping[tuple[str, ...], float]], name: str, role: str
) -> Buckets:
    upto = sorted(
        (float(bound), value)
        for (of, bound), value in summed[f"{name}_bucket"].items()
        if of == role
    )
    before = [0.0, *(value for _, value in upto)]
    counts = [max(0.0, value - old) for (_, value), old in zip(upto, before, strict=False)]
    total = summed[f"{name}_sum"].get((role,), 0.0)
    return Buckets([bound for bound, _ in upto], counts, total)
