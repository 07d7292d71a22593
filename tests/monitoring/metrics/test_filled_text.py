"""Bytes equal to what the library writes by itself, at the first scrape and at later ones."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as LibraryExemplar

from monitoring.metrics import exposition
from monitoring.metrics.counts import Exemplar
from monitoring.metrics.exposition import write_scrape
from monitoring.metrics.filled_text import FilledText
from monitoring.metrics.snapshot import Buckets, Family, Kind, Snapshot, Values

ACCEPTED = (
    "",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text",
    "application/openmetrics-text;version=1.0.0;escaping=dots",
)
BOUNDS = (0.5, 1.0, 1024.0)


class ByLibrary(Collector):
    """A snapshot's families, made anew with all numbers."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for family in self._snapshot:
            if family.kind == "histogram":
                yield make_histogram(family)
            else:
                make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                metric = make(family.name, family.text, labels=family.labels)
                for values, number in family.numbers.items():
                    metric.add_metric(values, number)
                yield metric


def make_histogram(family: Family) -> Metric:
    metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
    for values, one in family.histograms.items():
        seen = accumulate(one.counts)
        buckets: list[tuple[str, float] | tuple[str, float, LibraryExemplar]] = []
        for place, (bound, number) in enumerate(zip((*family.bounds, "+Inf"), seen, strict=True)):
            if place in one.exemplars:
                trace, latency_s, at = one.exemplars[place]
                found = LibraryExemplar({"trace_id": trace}, latency_s, round(at, 3))
                buckets.append((str(bound), number, found))
            else:
                buckets.append((str(bound), number))
        metric.add_metric(values, buckets, one.total)
    return metric


def write_by_library(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry()
    registry.register(ByLibrary(snapshot))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


# Few names, so that later snapshots have the same series, and all that is escaped or cut at.
WORDS = st.sampled_from(("a", "b", 'q"', "\\", "two\nlines", " 1 # {} ", "\r\u2028é", "%s{}"))
NUMBERS = st.floats() | st.sampled_from((0.0, -0.0, 1, 123456789, 1e21, inf, -inf, nan, True))
COUNTS = st.lists(st.integers(0, 10**8), min_size=4, max_size=4)
SECONDS = st.floats(0, 1e10, allow_nan=False)
EXEMPLARS = st.dictionaries(st.integers(0, 3), st.builds(Exemplar, WORDS, SECONDS, SECONDS))
BUCKETS = st.builds(Buckets, COUNTS, NUMBERS, st.just({}) | EXEMPLARS)


@st.composite
def draw_family(draw: st.DrawFn, name: str) -> Family:
    kind: Kind = draw(st.sampled_from(("counter", "gauge", "histogram")))
    labels = draw(st.sampled_from(((), ("route",), ("route", "exit"), ("exit", "route"))))
    family = Family(name, kind, draw(st.sampled_from(("help", 'of "two"\n\\lines'))), labels)
    series: st.SearchStrategy[Values] = st.tuples(*[WORDS] * len(labels))
    if kind == "histogram":
        family.bounds = draw(st.sampled_from((BOUNDS, (1.0, 2.0, 4.0))))
        family.histograms = draw(st.dictionaries(series, BUCKETS, max_size=3))
    else:
        family.numbers = draw(st.dictionaries(series, NUMBERS, max_size=3))
    return family


@st.composite
def renumber(draw: st.DrawFn, family: Family) -> Family:
    """The same series, in which something else was counted."""
    return Family(
        *(family.name, family.kind, family.text, family.labels, family.bounds),
        numbers={values: draw(NUMBERS) for values in family.numbers},
        histograms={values: draw(BUCKETS) for values in family.histograms},
    )


@st.composite
def draw_scrapes(draw: st.DrawFn) -> list[Snapshot]:
    """Each family at each scrape: as it was, with other numbers, with other series, or gone."""
    scrapes: list[Snapshot] = [[draw(draw_family(name)) for name in ("x", "y", "z")]]
    for _ in range(3):
        change: dict[str, Callable[[Family], st.SearchStrategy[Family]]] = {
            "none": st.just,
            "numbers": renumber,
            "series": lambda family: draw_family(family.name),  # or other labels, or another kind
        }
        scrapes.append(
            [
                draw(change[draw(st.sampled_from(sorted(change)))](family))
                for family in scrapes[-1]
                if draw(st.integers(0, 5))
            ]
        )
    return scrapes


@given(draw_scrapes(), st.sampled_from(ACCEPTED))
def test_bytes_are_those_of_the_library(scrapes: list[Snapshot], accept: str) -> None:
    for snapshot in scrapes:
        assert write_scrape(snapshot, accept) == write_by_library(snapshot, accept)


@given(draw_scrapes(), st.lists(st.sampled_from(ACCEPTED), min_size=4, max_size=4))
def test_formats_in_turns_do_not_mix(scrapes: list[Snapshot], accepts: list[str]) -> None:
    for snapshot, accept in zip(scrapes, accepts, strict=True):
        assert write_scrape(snapshot, accept) == write_by_library(snapshot, accept)


def count_up(routes: int, number: int = 0) -> Snapshot:
    rows = Family("rows", "counter", "", ("route",))
    seconds = Family("seconds", "histogram", "", ("route",), BOUNDS)
    for route in range(routes):
        rows.add((str(route),), number)
        seconds.histograms[str(route),] = Buckets([number] * 4, number)
    return [rows, seconds]


def test_the_library_writes_only_families_whose_series_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode, _ = choose_encoder("")
    written: list[str] = []

    def encode_and_note(collector: Collector) -> bytes:
        written.extend(metric.name for metric in collector.collect())
        return encode(collector)

    text = FilledText(encode_and_note)
    text.write(count_up(2, 1))
    assert written == ["rows", "seconds"]
    text.write(count_up(2, 5))
    assert written == ["rows", "seconds"]
    rows, seconds = count_up(2, 7)
    del rows.numbers["1",]
    text.write([rows, seconds])
    assert written == ["rows", "seconds", "rows"]
    text.write([rows])
    text.write([rows, seconds])
    assert written == ["rows", "seconds", "rows", "seconds"], "families that went are forgotten"


def test_many_kinds_of_scrapers_are_not_all_remembered() -> None:
    for version in range(1, 50):
        write_scrape([], f"application/openmetrics-text;version={version}.0.0")
    assert exposition._find_format.cache_info().currsize <= 4
