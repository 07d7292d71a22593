"""Followed rows are examples of their latency bucket, where the scraper reads OpenMetrics."""

import asyncio

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as read_older_text
from prometheus_client.samples import Exemplar

from monitoring.metrics.cache_counts import MEMORY
from monitoring.metrics.collector import Metrics
from monitoring.metrics.perceptual_counts import SIMILAR
from monitoring.metrics.switched_off import NoMetrics

METER_FACTORIES = "application/openmetrics-text"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def scrape(metrics: Metrics, accept: str) -> tuple[str, str]:
    body, content_type = asyncio.run(metrics.scrape(accept))
    return body.decode(), content_type


def read_openmetrics(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def exemplars(text: str) -> dict[tuple[str, str], Exemplar]:
    """By exit and upper bound."""
    return {
        (sample.labels["exit"], sample.labels["le"]): sample.exemplar
        for family in read_openmetrics(text)
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_the_newest_followed_row_of_a_bucket_is_its_example() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["light", "large"])
    route.count_rows("light", "confidence", 0.003)
    for latency_s in (0.004, 0.003):
        route.add_exemplar("light", latency_s, TRACE)
    route.add_exemplar("large", 100.0, TRACE[::-1])
    text, content_type = scrape(metrics, METER_FACTORIES)
    assert content_type.startswith(METER_FACTORIES)
    found = exemplars(text)
    assert found.keys() == {("light", "0.005"), ("large", "+Inf")}
    light = found["light", "0.005"]
    assert (light.labels, light.value) == ({"trace_id": TRACE}, 0.003)
    assert light.timestamp is not None


def test_an_exit_that_is_no_stage_has_its_examples_under_other() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["one"])
    route.count_rows("head", "confidence", 0.001)
    route.add_exemplar("head", 0.001, TRACE)
    assert exemplars(scrape(metrics, METER_FACTORIES)[0]).keys() == {("other", "0.001")}


def test_everything_counted_is_valid_openmetrics_and_says_the_same() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["one"])
    route.count_rows("one", "confidence", 0.003)
    route.count_batch("one", 1, [(0.001, 1)], 0.002)
    route.count_escalation("one", 1)
    metrics.count_request("a", "ok")
    counts = {name: {"some": 0.0} if one.labels else 0.0 for name, one in MEMORY.items()}
    metrics.add_cache_reader(lambda: counts)
    metrics.add_perceptual_reader(lambda: {"a": dict.fromkeys(SIMILAR, 0)})
    new = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in read_openmetrics(scrape(metrics, METER_FACTORIES)[0])
        for sample in family.samples
        if family.name.startswith("sparing_")
    }
    old = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in read_older_text(scrape(metrics, "")[0])
        for sample in family.samples
        if family.name.startswith("sparing_")
    }
    assert new == old


def test_the_older_text_is_what_everybody_else_gets_and_has_no_examples() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"]).add_exemplar("one", 0.003, TRACE)
    for accept in ("", "*/*", "text/plain"):
        text, content_type = scrape(metrics, accept)
        assert content_type.startswith("text/plain; version=")
        assert TRACE not in text
        assert not text.endswith("# EOF\n")


def test_of_several_processes_the_older_text_is_added_up() -> None:
    async def gather() -> bytes:
        return b"sums"

    metrics = Metrics()
    metrics.set_scraper(gather)
    assert scrape(metrics, METER_FACTORIES)[0] == "sums"
    assert scrape(metrics, METER_FACTORIES)[1].startswith("text/plain; version=")


def test_metrics_switched_off_take_examples_too() -> None:
    metrics = NoMetrics()
    metrics.add_route("a", ["one"]).add_exemplar("one", 0.003, TRACE)
    assert asyncio.run(metrics.scrape(METER_FACTORIES))[0] == b""
