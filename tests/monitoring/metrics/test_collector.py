"""Counts become samples, label values come from what is served, and the document names them all."""

import asyncio
import random
import re
import threading
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.generation import TokenCounts
from monitoring.energy.rate import EnergyRate
from monitoring.metrics.cache_counts import MEMORY
from monitoring.metrics.collector import Metrics
from monitoring.metrics.exposition import write_scrape
from monitoring.metrics.labelled import FAMILIES
from monitoring.metrics.perceptual_counts import SIMILAR
from monitoring.metrics.snapshot import Snapshot
from monitoring.metrics.switched_off import NoMetrics

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def read(metrics: Metrics) -> Samples:
    body, _ = metrics.render()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_rows_are_counted_by_exit_and_by_what_stopped_them() -> None:
    metrics = Metrics()
    route = metrics.add_route("fashion-mnist", ["light", "large"])
    route.count_rows("light", "confidence", 0.003)
    route.count_rows("light", "confidence", 0.02)
    route.count_rows("large", "deadline", 0.5)
    samples = read(metrics)
    labels = {"route": "fashion-mnist", "exit": "light"}
    assert value(samples, "sparing_rows_total", **labels, stopped_by="confidence") == 2
    assert value(samples, "sparing_rows_total", **labels, stopped_by="cache") == 0
    assert value(samples, "sparing_latency_seconds_bucket", **labels, le="0.0025") == 0
    assert value(samples, "sparing_latency_seconds_bucket", **labels, le="0.005") == 1
    assert value(samples, "sparing_latency_seconds_bucket", **labels, le="+Inf") == 2
    assert value(samples, "sparing_latency_seconds_sum", **labels) == pytest.approx(0.023)
    assert value(samples, "sparing_latency_seconds_count", **labels) == 2


def test_a_value_on_a_bound_is_counted_under_it() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"]).count_rows("one", "last_stage", 0.005)
    samples = read(metrics)
    labels = {"route": "a", "exit": "one"}
    assert value(samples, "sparing_latency_seconds_bucket", **labels, le="0.005") == 1
    assert value(samples, "sparing_latency_seconds_bucket", **labels, le="0.0025") == 0


def test_batches_are_counted_by_stage() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["light", "large"])
    route.count_batch("light", 3, [(0.001, 1), (0.002, 1), (0.03, 1)], 0.004)
    route.count_batch("light", 1, [(0.0, 1)], 0.002)
    route.count_escalation("light", 2)
    samples = read(metrics)
    light = {"route": "a", "stage": "light"}
    assert value(samples, "sparing_batch_rows_sum", **light) == 4
    assert value(samples, "sparing_batch_rows_count", **light) == 2
    assert value(samples, "sparing_batch_rows_bucket", **light, le="1.0") == 1
    assert value(samples, "sparing_queue_seconds_count", **light) == 4
    assert value(samples, "sparing_queue_seconds_sum", **light) == pytest.approx(0.033)
    assert value(samples, "sparing_stage_seconds_sum", **light) == pytest.approx(0.006)
    assert value(samples, "sparing_escalations_total", **light) == 2
    assert value(samples, "sparing_escalations_total", route="a", stage="large") == 0


def test_ten_thousand_random_route_names_add_no_series() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"])
    metrics.count_request("absent", "UnknownRoute")
    before = read(metrics)
    source = random.Random(7)
    for _ in range(10_000):
        metrics.count_request(f"{source.getrandbits(64):x}", "UnknownRoute")
    after = read(metrics)
    assert after.keys() == before.keys()
    assert value(after, "sparing_requests_total", route="", result="UnknownRoute") == 10_001


def test_requests_are_counted_by_route_and_result() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"])
    metrics.count_request("a", "ok")
    metrics.count_request("a", "Overloaded")
    metrics.count_request(None, "InvalidInput")
    samples = read(metrics)
    assert value(samples, "sparing_requests_total", route="a", result="ok") == 1
    assert value(samples, "sparing_requests_total", route="a", result="Overloaded") == 1
    assert value(samples, "sparing_requests_total", route="", result="InvalidInput") == 1


def test_what_fails_before_it_has_a_route_has_a_base_to_be_a_share_of() -> None:
    metrics = Metrics()
    metrics.count_request("auto:digits", "Overloaded")
    samples = read(metrics)
    assert value(samples, "sparing_requests_total", route="", result="ok") == 0
    assert value(samples, "sparing_requests_total", route="", result="Overloaded") == 1


def test_another_version_counts_together_with_the_first() -> None:
    metrics = Metrics()
    old = metrics.add_route("a", ["one"])
    new = metrics.add_route("a", ["one", "two"])
    old.count_rows("one", "confidence", 0.001)
    new.count_rows("one", "confidence", 0.001)
    new.count_rows("two", "last_stage", 0.001)
    samples = read(metrics)
    labels = {"route": "a", "exit": "one", "stopped_by": "confidence"}
    assert value(samples, "sparing_rows_total", **labels) == 2
    assert value(samples, "sparing_latency_seconds_count", route="a", exit="two") == 1


def test_a_route_may_name_its_exits() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["one"], ["cheap", "dear"])
    route.count_rows("dear", "last_stage", 0.001)
    route.count_cost("dear", 0.25, 7)
    samples = read(metrics)
    for exit, rows in [("cheap", 0), ("dear", 1)]:
        assert value(samples, "sparing_latency_seconds_count", route="a", exit=exit) == rows
    assert value(samples, "sparing_macs_total", route="a", exit="dear") == 7
    assert not any(("exit", "one") in labels for _, labels in samples)


def test_a_forgotten_route_leaves_no_series_and_its_last_rows_do_no_harm() -> None:
    metrics = Metrics()
    before = read(metrics).keys()
    route = metrics.add_route("a", ["one"])
    metrics.count_request("a", "ok")
    metrics.remove_route("a")
    route.count_rows("one", "confidence", 0.001)
    assert read(metrics).keys() == before


def test_an_exit_that_is_no_stage_counts_as_other() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"]).count_rows("head", "confidence", 0.001)
    samples = read(metrics)
    assert value(samples, "sparing_latency_seconds_count", route="a", exit="other") == 1


def test_memory_is_read_at_every_scrape() -> None:
    metrics = Metrics()
    counts = {"hits": 1, "bytes": 512}
    metrics.add_cache_reader(lambda: counts)
    counts["hits"] = 5
    samples = read(metrics)
    assert value(samples, "sparing_cache_hits_total") == 5
    assert value(samples, "sparing_cache_bytes") == 512


def test_a_memory_count_with_a_label_is_a_series_for_each_of_its_values() -> None:
    metrics = Metrics()
    metrics.add_cache_reader(lambda: {"remote_errors": {"timeout": 3, "invalid": 0}})
    samples = read(metrics)
    assert value(samples, "sparing_cache_remote_errors_total", reason="timeout") == 3
    assert value(samples, "sparing_cache_remote_errors_total", reason="invalid") == 0


def test_the_perceptual_cache_is_read_by_route_and_absent_where_none_is_opted_in() -> None:
    metrics = Metrics()
    assert not [name for name, _ in read(metrics) if name.startswith("sparing_cache_perceptual")]
    counts = {route: dict.fromkeys(SIMILAR, 0) for route in ("a", "b")}
    metrics.add_perceptual_reader(lambda: counts)
    counts["b"]["hits"] = 5
    counts["b"]["off"] = 1
    samples = read(metrics)
    assert value(samples, "sparing_cache_perceptual_hits_total", route="a") == 0
    assert value(samples, "sparing_cache_perceptual_hits_total", route="b") == 5
    assert value(samples, "sparing_cache_perceptual_off", route="b") == 1


def test_a_memory_count_without_a_metric_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'smells'"):
        Metrics().add_cache_reader(lambda: {"smells": 1})


def test_a_scrape_tells_versions_and_the_process() -> None:
    body, content_type = Metrics().render()
    assert content_type.startswith("text/plain; version=")
    assert b"sparing_build_info{" in body
    assert b"process_resident_memory_bytes " in body


def test_metrics_switched_off_take_the_same_calls() -> None:
    metrics = NoMetrics()
    route = metrics.add_route("a", ["one"])
    route.count_rows("one", "confidence", 0.001)
    route.count_batch("one", 1, [(0.0, 1)], 0.001)
    route.count_escalation("one", 1)
    metrics.count_request("a", "ok")
    metrics.add_cache_reader(lambda: {"smells": 1})
    metrics.remove_route("a")
    assert metrics.render()[0] == b""
    assert not metrics.enabled


def test_a_snapshot_taken_while_another_thread_counts_is_whole_and_never_goes_back() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["one"])
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            route.count_rows("one", "confidence", 0.003)
            route.count_batch("one", 1, [(0.001, 1)], 0.002)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        all_samples = [read(metrics) for _ in range(30)]
    finally:
        stop.set()
        counting.join()
    for before, after in pairwise(all_samples):
        for (name, labels), counted in after.items():
            if name.startswith("sparing_"):
                assert counted >= before[name, labels]
            if dict(labels).get("le") == "+Inf":
                whole = name.replace("_bucket", "_count"), labels - {("le", "+Inf")}
                assert counted == after[whole]
    assert value(all_samples[-1], "sparing_latency_seconds_count", route="a", exit="one") > 0


def test_a_scrape_is_written_in_another_thread_while_the_loop_goes_on() -> None:
    metrics = Metrics()
    metrics.add_route("a", ["one"])
    writers: list[str] = []

    def write(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
        writers.append(threading.current_thread().name)
        assert turned.wait(10.0)
        return write_scrape(snapshot, accept)

    metrics._write = write
    turned = threading.Event()

    async def scrape() -> bytes:
        asyncio.get_running_loop().call_soon(turned.set)
        return (await metrics.scrape())[0]

    assert b"sparing_rows_total" in asyncio.run(scrape())
    assert writers != [threading.current_thread().name]


def test_the_document_names_every_metric_with_its_type_and_labels_and_no_other() -> None:
    metrics = Metrics()
    route = metrics.add_route("a", ["one"], generates=True)
    route.count_rows("one", "confidence", 0.001)
    assert route.generation is not None
    route.generation.count_device_s("one", "one", 1.0, EnergyRate("model", 2.0))
    route.generation.count_answer("one", TokenCounts(2, 1, 0.5, 2), 0.1, 0.2)
    counts = {name: {"some": 0.0} if one.labels else 0.0 for name, one in MEMORY.items()}
    metrics.add_cache_reader(lambda: counts)
    metrics.add_perceptual_reader(lambda: {"a": dict.fromkeys(SIMILAR, 0)})
    metrics.add_reader(
        lambda: {name: {("x",) * len(one.labels): 0.0} for name, one in FAMILIES.items()}
    )
    exported = {
        (
            family.name + "_total" * (family.type == "counter"),
            family.type,
            frozenset(family.samples[0].labels) - {"le"},
        )
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        if family.name.startswith("sparing_")
    }
    rows = re.findall(r"^\| `(sparing_\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT.read_text(), re.M)
    documented = {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    }
    assert documented == exported
