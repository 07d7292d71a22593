"""Snapshots as the text that Prometheus reads, written by Prometheus' own client library.

Importing this module loads the library.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, repeat
from threading import Lock

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from monitoring.metrics import counts
from monitoring.metrics.snapshot import Family, Snapshot, Values

# How long the writer keeps the interpreter's lock while the event loop's thread waits for it.
# Python's own 5 ms would be paid at each of the handful of turns that a request takes.
_SWITCH_INTERVAL_S = 0.0001
_writing = Lock()  # the interval is the whole process's


class SnapshotCollector(Collector):
    """The families of a snapshot as the library's."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        return map(_make_metric, self._snapshot)


def write_scrape(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """The body of a scrape in the format that an Accept header asks for, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # the library compares a version that is no number with one that is
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    with _writing:
        usual_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            return encode(registry), content_type
        finally:
            sys.setswitchinterval(usual_s)


def _make_metric(family: Family) -> Metric:
    if family.kind == "histogram":
        return _make_histogram(family)
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.text, labels=family.labels)
    for values, value in family.numbers.items():
        metric.add_metric(values, value)
    return metric


def _make_histogram(family: Family) -> Metric:
    """The samples of a histogram; the library's own family builds all labels again each time."""
    metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
    bucket, count, total = (f"{family.name}_{what}" for what in ("bucket", "count", "sum"))
    for values, one in family.histograms.items():
        *bounded, plain = _label_histogram(family.labels, values, family.bounds)
        seen = list(accumulate(one.counts))
        metric.samples += map(Sample, repeat(bucket), bounded, seen)
        for place, exemplar in one.exemplars.items():
            last = place - len(one.counts)
            metric.samples[last] = metric.samples[last]._replace(exemplar=_make_exemplar(exemplar))
        metric.samples += (Sample(count, plain, seen[-1]), Sample(total, plain, one.total))
    return metric


@lru_cache(maxsize=8192)
def _label_histogram(
    names: tuple[str, ...], values: Values, bounds: tuple[float, ...]
) -> tuple[dict[str, str], ...]:
    """The labels of each bucket, and last those of all together."""
    plain = dict(zip(names, values, strict=True))
    return (*({**plain, "le": bound} for bound in (*map(str, bounds), "+Inf")), plain)


def _make_exemplar(exemplar: counts.Exemplar) -> Exemplar:
    return Exemplar({"trace_id": exemplar.trace}, exemplar.latency_s, round(exemplar.at, 3))
