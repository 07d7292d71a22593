"""What a snapshot holds is what a scrape says, in the format that was asked for."""

import sys
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_older_text

from monitoring.metrics.counts import Exemplar, Histogram
from monitoring.metrics.exposition import write_scrape
from monitoring.metrics.snapshot import Family, Kind

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)


METER_FACTORIES = "application/openmetrics-text"
PROMETHEUS = (
    f"{METER_FACTORIES};version=1.0.0;escaping=allow-utf-8;q=0.5,{METER_FACTORIES};version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def read(families: list[Family]) -> list[list[Metric]]:
    """From both formats."""
    new = write_scrape(families, PROMETHEUS)[0].decode()
    assert new.endswith("# EOF\n")
    return [
        list(read_openmetrics(new)),  # type: ignore[no-untyped-call]
        list(read_older_text(write_scrape(families)[0].decode())),
    ]


@pytest.mark.parametrize(
    "accept", [PROMETHEUS, METER_FACTORIES, f"text/html, {METER_FACTORIES}; version=1.0.0"]
)
def test_openmetrics_is_for_those_that_ask_for_it(accept: str) -> None:
    body, content_type = write_scrape([], accept)
    assert content_type.startswith(f"{METER_FACTORIES}; version=1.0.0; charset=utf-8")
    assert body == b"# EOF\n"


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "text/plain",
        f"x{METER_FACTORIES}",
        f"{METER_FACTORIES};version=0.0.1",
        f"{METER_FACTORIES};version=newest",
        f"{METER_FACTORIES};version=1.x.y",
        f"{METER_FACTORIES};version={'9' * 5000}",
        "text/plain;version=.",
        ";;,,q=1",
    ],
)
def test_all_others_get_the_older_text(accept: str) -> None:
    assert write_scrape([], accept) == (b"", "text/plain; version=0.0.4; charset=utf-8")


def test_the_interpreter_switches_threads_afterwards_as_it_did() -> None:
    before = sys.getswitchinterval()
    write_scrape([])
    assert sys.getswitchinterval() == before


@given(TEXTS, TEXTS, st.floats(allow_nan=False), st.sampled_from(["counter", "gauge"]))
def test_labels_and_numbers_come_through_whatever_they_are(
    first: str, second: str, value: float, kind: Kind
) -> None:
    family = Family("joules", kind, "", ("a", "b"))
    family.add((first, second), abs(value) if kind == "counter" else value)
    for (metric,) in read([family]):
        (sample,) = metric.samples
        assert (metric.name, metric.type) == ("joules", kind)
        assert sample.name == ("joules_total" if kind == "counter" else "joules")
        assert sample.labels == {"a": first, "b": second}
        assert sample.value == (abs(value) if kind == "counter" else value)


@pytest.mark.parametrize("text", ["plain.", 'a "quote"', "a\\nb", "two\nlines", "ends in \\"])
def test_help_comes_through(text: str) -> None:
    family = Family("heat", "gauge", text)
    family.add((), 1)
    for (metric,) in read([family]):
        assert metric.documentation == text


def test_a_number_that_is_none_and_one_without_end() -> None:
    family = Family("heat", "gauge", "", ("of",))
    for of, value in (("nan", float("nan")), ("up", inf), ("down", -inf)):
        family.add((of,), value)
    for (metric,) in read([family]):
        values = [sample.value for sample in metric.samples]
        assert isnan(values[0])
        assert values[1:] == [inf, -inf]


def test_whatever_is_a_number_is_written_as_one() -> None:
    family = Family("heat", "gauge", "", ("of",))
    for of, value in (("truth", True), ("numpy", np.float64(0.5)), ("whole", 3)):
        family.add((of,), value)
    for (metric,) in read([family]):
        assert [sample.value for sample in metric.samples] == [1.0, 0.5, 3.0]


def test_buckets_are_cumulative_and_end_with_all() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.1, 0.7, 0.9, 5.0):
        histogram.observe(value)
    with_label = Family("seconds", "histogram", "", ("route",))
    with_label.add_histogram(("a",), histogram)
    plain = Family("wait_seconds", "histogram", "")
    plain.add_histogram((), histogram)
    for families in read([with_label, plain]):
        for family in families:
            buckets = {s.labels["le"]: s.value for s in family.samples if "le" in s.labels}
            sums = {s.name: s.value for s in family.samples if "le" not in s.labels}
            assert buckets == {"0.5": 1, "1.0": 3, "+Inf": 4}
            assert sums == {f"{family.name}_count": 4, f"{family.name}_sum": pytest.approx(6.7)}


def test_an_example_stays_with_its_bucket_and_its_route() -> None:
    histogram = Histogram((0.5, 1.0))
    family = Family("seconds", "histogram", "", ("route",))
    family.add_histogram(("a",), histogram, {2: Exemplar("abc", 5.0, 1.7e9)})
    family.add_histogram(("b",), histogram, {0: Exemplar("def", 0.1, 1.7e9)})
    new, old = read([family])
    found = {
        (s.labels["route"], s.labels["le"]): (s.exemplar.labels["trace_id"], s.exemplar.value)
        for s in new[0].samples
        if s.exemplar
    }
    assert found == {("a", "+Inf"): ("abc", 5.0), ("b", "0.5"): ("def", 0.1)}
    assert not any(s.exemplar for s in old[0].samples)


def test_label_values_that_are_not_as_many_as_the_labels_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="labels"):
        Family("heat", "gauge", "", ("route",)).add((), 1)
