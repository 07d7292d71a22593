"""The library's text of a snapshot, kept up to each number and filled with new numbers."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from monitoring.metrics import counts
from monitoring.metrics.snapshot import Buckets, Family, Snapshot

_write_number: Callable[[float], str] = floatToGoString
_write_count = lru_cache(maxsize=8192)(_write_number)  # many buckets of a scrape are equal


class _Given(Collector):
    """A metric or none, as the library's encoders want it."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class _Lines(NamedTuple):
    """What the library wrote for a family."""

    shape: tuple[Any, ...]  # all that it depends on
    head: list[str]  # lines about the family
    starts: list[str]  # each series' lines up to their numbers


class FilledText:
    """Snapshots in one format. The library writes a family again when its series change."""

    def __init__(self, encode: Callable[[Collector], bytes]) -> None:
        self._encode = encode
        self._end = encode(_Given()).decode()
        self._known: dict[str, _Lines] = {}  # of the last snapshot's families

    def write(self, snapshot: Snapshot) -> bytes:
        """The same bytes that the library alone would write."""
        known: dict[str, _Lines] = {}
        text: list[str] = []
        for family in snapshot:
            lines = known[family.name] = self._find_lines(family)
            text += lines.head
            numbers = self._write_numbers(family)
            text += [start + number for start, number in zip(lines.starts, numbers, strict=True)]
        self._known = known
        return "\n".join([*text, self._end]).encode()

    def _find_lines(self, family: Family) -> _Lines:
        series = family.histograms if family.kind == "histogram" else family.numbers
        shape = (family.kind, family.text, family.labels, family.bounds, *series)
        known = self._known.get(family.name)
        if known is not None and known.shape == shape:
            return known
        head, samples = self._write_lines(_make_metric(family))
        return _Lines(shape, head, [line[: line.rindex(" ") + 1] for line in samples])

    def _write_lines(self, metric: Metric) -> tuple[list[str], list[str]]:
        """Those about the metric, and one for each sample."""
        text = self._encode(_Given(metric)).decode().removesuffix(self._end)
        lines = text.split("\n")[:-1]
        about = len(lines) - len(metric.samples)
        return lines[:about], lines[about:]

    def _write_numbers(self, family: Family) -> Iterable[str]:
        if family.kind != "histogram":
            return map(_write_number, family.numbers.values())
        return (text for one in family.histograms.values() for text in self._write_buckets(one))

    def _write_buckets(self, one: Buckets) -> list[str]:
        """The numbers of a histogram, with exemplars behind them where the format has them."""
        seen = list(accumulate(one.counts))
        numbers = [*map(_write_count, seen), _write_count(seen[-1]), _write_number(one.total)]
        if one.exemplars:
            metric = HistogramMetricFamily("a", "")
            metric.samples = [
                Sample("a_bucket", {}, seen[place], exemplar=_make_exemplar(exemplar))
                for place, exemplar in one.exemplars.items()
            ]
            for place, line in zip(one.exemplars, self._write_lines(metric)[1], strict=True):
                numbers[place] = line.partition(" ")[2]
        return numbers


def _make_metric(family: Family) -> Metric:
    """The family as the library's, with 0 for each number."""
    if family.kind == "histogram":
        return _make_histogram(family)
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.text, labels=family.labels)
    for values in family.numbers:
        metric.add_metric(values, 0)
    return metric


def _make_histogram(family: Family) -> Metric:
    metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
    buckets = [(bound, 0) for bound in (*map(str, family.bounds), "+Inf")]
    for values in family.histograms:
        metric.add_metric(values, buckets, 0)
    return metric


def _make_exemplar(exemplar: counts.Exemplar) -> Exemplar:
    return Exemplar({"trace_id": exemplar.trace}, exemplar.latency_s, round(exemplar.at, 3))
