"""A run in figures: time buckets, totals, cost and joules."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulation.pod import Pod
from simulation.simulator import Run
from simulation.trace import Floats


@dataclass(frozen=True, slots=True)
class Prices:
    """What a pod costs and draws; None: not asked for."""

    per_pod_hour: float | None = None
    watts_per_pod: float | None = None  # whatever it does
    busy_watts: float = 0.0  # more while its device runs


@dataclass(frozen=True, slots=True)
class Bucket:
    """A slice of simulated time. Latencies are of the requests that arrived in it."""

    start_s: float
    replicas: float  # ready pods, the mean over the bucket
    requests_s: float  # that arrived
    p50_ms: float | None  # None without requests
    p99_ms: float | None
    busy: float  # share of the ready pods' time that their devices ran
    in_flight: float  # unanswered requests at a moment, the mean over the bucket


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole run."""

    requests: int
    seconds: float
    requests_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    busy: float
    mean_batch_rows: float
    most_replicas: int
    pod_hours: float
    price: float | None
    price_per_million: float | None  # requests
    joules: float | None
    joules_per_request: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Buckets in order of time, and the totals."""

    buckets: Sequence[Bucket]
    totals: Totals

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "totals": asdict(self.totals),
            "buckets": [asdict(bucket) for bucket in self.buckets],
        }


def summarise(run: Run, prices: Prices, buckets: int) -> Summary:
    """Return the figures of a run, in so many buckets of equal length."""
    edges = np.linspace(0.0, run.end_s, buckets + 1) if run.end_s else np.array([0.0, 1e-9])
    return Summary(_make_buckets(run, edges), _make_totals(run, prices))


def _make_buckets(run: Run, edges: Floats) -> list[Bucket]:
    lengths = np.diff(edges)
    ready_s = integrate(_ready_spans(run), edges)
    ends = run.batch_at_s + run.batch_s
    busy_s = integrate(np.column_stack([run.batch_at_s, ends]), edges)
    answered = run.arrival_s + run.latency_s
    flight_s = integrate(np.column_stack([run.arrival_s, answered]), edges)
    places = np.searchsorted(run.arrival_s, edges, side="left")
    places[-1] = len(run.arrival_s)
    found = []
    for number, length in enumerate(lengths):
        latency_ms = run.latency_s[places[number] : places[number + 1]] * 1e3
        p50, p99 = np.percentile(latency_ms, (50, 99)) if len(latency_ms) else (None, None)
        found.append(
            Bucket(
                float(edges[number]),
                float(ready_s[number] / length),
                len(latency_ms) / float(length),
                None if p50 is None else float(p50),
                None if p99 is None else float(p99),
                float(busy_s[number] / ready_s[number]) if ready_s[number] else 0.0,
                float(flight_s[number] / length),
            )
        )
    return found


def _make_totals(run: Run, prices: Prices) -> Totals:
    requests, seconds = len(run.latency_s), run.end_s
    pod_s = sum(_end_of(pod, seconds) - pod.created_s for pod in run.pods)
    ready_s = float((_ready_spans(run) @ np.array([-1.0, 1.0])).sum())
    busy_s = float(run.batch_s.sum())
    pod_hours = pod_s / 3600
    price = None if prices.per_pod_hour is None else prices.per_pod_hour * pod_hours
    watts = prices.watts_per_pod
    joules = None if watts is None else watts * pod_s + prices.busy_watts * busy_s
    p50, p99 = np.percentile(run.latency_s, (50, 99)) * 1e3
    return Totals(
        requests=requests,
        seconds=seconds,
        requests_s=requests / seconds if seconds else 0.0,
        p50_ms=float(p50),
        p99_ms=float(p99),
        max_ms=float(run.latency_s.max()) * 1e3,
        busy=busy_s / ready_s if ready_s else 0.0,
        mean_batch_rows=float(run.batch_rows.mean()) if len(run.batch_rows) else 0.0,
        most_replicas=count_most(pod_span for pod_span in _ready_spans(run).tolist()),
        pod_hours=pod_hours,
        price=price,
        price_per_million=None if price is None else price * 1e6 / requests,
        joules=joules,
        joules_per_request=None if joules is None else joules / requests,
    )


def integrate(spans: Floats, edges: Floats) -> Floats:
    """Return how many seconds the spans [N, 2] cover between each two edges, overlaps counted each:
    shape [len(edges) - 1].
    """
    if not len(spans):
        return np.zeros(len(edges) - 1)
    starts, ends = np.sort(spans[:, 0]), np.sort(spans[:, 1])
    return np.diff(_covered_until(starts, edges) - _covered_until(ends, edges))


def _covered_until(events: Floats, edges: Floats) -> Floats:
    """Return for each edge the sum of the seconds since all events before it."""
    before = np.searchsorted(events, edges)
    sums = np.concatenate([[0.0], np.cumsum(events)])
    covered: Floats = before * edges - sums[before]
    return covered


def count_most(spans: Iterable[Sequence[float]]) -> int:
    """Return how many spans there were at once at most; one that ends as another starts is over."""
    changes = sorted(change for start, end in spans for change in ((start, 1), (end, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _ready_spans(run: Run) -> Floats:
    """Return when pods took requests, [P, 2]."""
    spans = []
    for pod in run.pods:
        if pod.ready_s is not None:
            until_s = pod.draining_since_s
            spans.append((pod.ready_s, run.end_s if until_s is None else until_s))
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def _end_of(pod: Pod, end_s: float) -> float:
    return end_s if pod.ended_s is None else pod.ended_s
