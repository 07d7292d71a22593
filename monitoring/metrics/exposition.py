"""Snapshots as the text that Prometheus reads, written by Prometheus' own client library.

Importing this module loads the library.
"""

import sys
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from monitoring.metrics.snapshot import Buckets, Family, Snapshot

# How long the writer keeps the interpreter's lock while another thread, the event loop's, wants
# it. Python's own 5 ms would be paid at each of the handful of turns that a request takes.
_SWITCH_INTERVAL_S = 0.0005


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


def _make_histogram(family: Family) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
    bounds = [*map(floatToGoString, family.bounds), "+Inf"]
    for values, one in family.histograms.items():
        metric.add_metric(values, list(_list_buckets(bounds, one)), one.total)
    return metric


def _list_buckets(
    bounds: list[str], one: Buckets
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    for place, (bound, seen) in enumerate(zip(bounds, accumulate(one.counts), strict=True)):
        found = one.exemplars.get(place)
        if found is None:
            yield bound, seen
        else:
            labels = {"trace_id": found.trace}
            yield bound, seen, Exemplar(labels, found.latency_s, round(found.at, 3))
