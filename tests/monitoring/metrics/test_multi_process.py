"""Scrapes of several processes become one that never goes back, in a form that Prometheus reads."""

import json
import math
import re
from collections.abc import Iterable, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics.cache_counts import MEMORY
from monitoring.metrics.collector import Metrics
from monitoring.metrics.exposition import write_scrape
from monitoring.metrics.labelled import FAMILIES
from monitoring.metrics.multi_process import GAUGES, ScrapeSums
from monitoring.metrics.perceptual_counts import SIMILAR
from monitoring.metrics.rollout_counts import RolloutState, make_families
from monitoring.metrics.snapshot import Family, MetricInfo, Snapshot, pack, unpack


def snapshot(text: str) -> Snapshot:
    """`gauge name{route="a"} 3`, one a line."""
    families: dict[str, Family] = {}
    for line in text.strip().splitlines():
        kind, name, labels, value = re.findall(r"^(\w+) (\w+)(?:\{(.*)\})? (\S+)$", line)[0]
        pairs = re.findall(r'(\w+)="(.*?)"', labels)
        meaning = MetricInfo(kind, "Some.", tuple(label for label, _ in pairs))
        family = families.setdefault(name, Family(name, *meaning))
        family.add(tuple(one for _, one in pairs), float(value))
    return list(families.values())


def read(counted: Snapshot) -> dict[str, float]:
    """By name and label values, the route first."""
    return {
        " ".join([sample.name, *_values(sample.labels)]): sample.value
        for family in text_string_to_metric_families(write_scrape(counted)[0].decode())
        for sample in family.samples
    }


def _values(labels: Mapping[str, str]) -> list[str]:
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "route", name))]


def add_up(*texts: str) -> dict[str, float]:
    return read(ScrapeSums().add_up([snapshot(text) for text in texts]))


def make_process(rows: int, stage: str = "light", route: str = "a") -> Metrics:
    """A process as it counts in truth, after so many rows."""
    metrics = Metrics()
    counts = metrics.add_route(route, [stage])
    for _ in range(rows):
        metrics.count_request(route, "ok")
        counts.count_rows(stage, "confidence", 0.003)
    return metrics


def add_up_processes(sums: ScrapeSums, processes: Iterable[Metrics]) -> Mapping[str, float]:
    return read(sums.add_up([process.snapshot() for process in processes]))


def test_counters_and_histograms_of_real_scrapes_are_summed() -> None:
    merged = add_up_processes(ScrapeSums(), [make_process(3), make_process(4, stage="large")])
    assert merged["sparing_requests_total a ok"] == 7
    assert merged["sparing_rows_total a light confidence"] == 3
    assert merged["sparing_rows_total a large confidence"] == 4
    assert merged["sparing_latency_seconds_bucket a light 0.005"] == 3
    assert merged["sparing_latency_seconds_sum a large"] == pytest.approx(0.012)
    assert merged["sparing_workers"] == merged["sparing_worker_starts_total"] == 2


def test_the_sums_of_one_process_are_what_it_counted_sent_as_json_or_not() -> None:
    process = make_process(5)
    process.add_cache_reader(lambda: {"remote_key_seconds": math.nan})
    counted = process.snapshot()
    sent = unpack(json.loads(json.dumps(pack(counted))))
    assert write_scrape(sent) == write_scrape(counted) == write_scrape(ScrapeSums().add_up([sent]))


def test_adding_up_changes_no_snapshot() -> None:
    sums, first, second = ScrapeSums(), make_process(3).snapshot(), make_process(4).snapshot()
    before = pack(first), pack(second)
    sums.retire(first)
    sums.retire(second)
    merged = read(sums.add_up([first, second]))
    assert merged["sparing_latency_seconds_count a light"] == 14
    assert read(sums.add_up([first, second])).keys() == merged.keys()
    assert (pack(first), pack(second)) == before


def test_what_an_ended_process_counted_stays_and_what_it_held_goes() -> None:
    sums, process = ScrapeSums(), make_process(2)
    sums.retire(make_process(10).snapshot())
    sums.retire(make_process(20).snapshot())
    merged = add_up_processes(sums, [process])
    assert merged["sparing_requests_total a ok"] == 32
    assert merged["sparing_latency_seconds_count a light"] == 32
    assert merged["sparing_worker_starts_total"] == 3
    assert merged["sparing_workers"] == 1
    assert merged["process_open_fds"] < 2 * read(process.snapshot())["process_open_fds"]


def test_counts_of_the_ended_alone_are_still_told() -> None:
    sums = ScrapeSums()
    sums.retire(make_process(10).snapshot())
    assert read(sums.add_up([()]))["sparing_requests_total a ok"] == 10


def test_a_process_that_ended_before_it_counted_changes_nothing() -> None:
    sums, process = ScrapeSums(), make_process(2)
    before = read(sums.add_up([process.snapshot()]))
    sums.retire(())
    assert read(sums.add_up([process.snapshot(), ()])).keys() == before.keys()


def test_a_route_that_nobody_serves_any_more_is_dropped_for_good() -> None:
    sums = ScrapeSums()
    sums.retire(make_process(10, route='ol"d').snapshot())
    sums.retire(make_process(10, route="kept").snapshot())
    for _ in range(2):
        merged = add_up_processes(sums, [make_process(1, route="kept")])
        assert merged["sparing_requests_total kept ok"] == 11
        assert not any('ol"d' in key for key in merged)
    again = add_up_processes(sums, [make_process(1, route='ol"d')])
    assert again['sparing_requests_total ol"d ok'] == 1


def test_gauges_are_summed() -> None:
    merged = add_up("gauge sparing_cache_limit_bytes 100", "gauge sparing_cache_limit_bytes 100.0")
    assert merged == {"sparing_cache_limit_bytes": 200}


def test_a_tier_that_any_process_leaves_alone_is_one_not_a_number_of_processes() -> None:
    name = 'gauge sparing_cache_remote_breaker_open{operation="%s"} %d'
    texts = [
        "\n".join(name % pair for pair in (("recall", recall), ("store", 0)))
        for recall in (1, 1, 0)
    ]
    key = "sparing_cache_remote_breaker_open"
    assert add_up(*texts) == {f"{key} recall": 1, f"{key} store": 0}


@pytest.mark.parametrize(
    ("measured", "told"), [(("NaN", "0.25", "0.5"), 0.5), (("0.25", "NaN"), 0.25)]
)
def test_the_time_of_a_key_is_the_largest_known(measured: tuple[str, ...], told: float) -> None:
    texts = [f"gauge sparing_cache_remote_key_seconds {value}" for value in measured]
    assert add_up(*texts) == {"sparing_cache_remote_key_seconds": told}


def test_a_time_that_no_process_knows_stays_unknown() -> None:
    one = snapshot("gauge sparing_cache_remote_key_seconds NaN")
    merged = ScrapeSums().add_up([one, one])
    assert math.isnan(read(merged)["sparing_cache_remote_key_seconds"])


def test_versions_switched_off_are_not_counted_once_a_process() -> None:
    text = 'gauge sparing_cache_perceptual_off{route="a"} %d'
    assert add_up(text % 2, text % 1) == {"sparing_cache_perceptual_off a": 2}


def test_the_server_is_as_old_as_its_oldest_process() -> None:
    name = "process_start_time_seconds"
    assert add_up(f"gauge {name} 1000", f"gauge {name} 900") == {name: 900}


def test_every_gauge_that_is_not_summed_is_counted_somewhere() -> None:
    names = {f"sparing_cache_{name}" for name in MEMORY}
    names |= {f"sparing_cache_perceptual_{name}" for name in SIMILAR}
    names |= {f"sparing_{name}" for name in FAMILIES}
    names |= {family.name for family in make_families([RolloutState("any", 0.5, {})])}
    names |= {"sparing_build_info", "process_start_time_seconds"}
    assert set(GAUGES) <= names


def test_counts_of_a_rollout_go_with_the_rollout_and_outlive_a_process() -> None:
    counted = 'counter sparing_rollout_rows{route="a",role="canary"} 5'
    under_way = 'gauge sparing_rollout_share{route="a"} 0.5'
    served = 'counter sparing_rows{route="a"} 1'
    sums = ScrapeSums()
    sums.retire(snapshot(counted))
    living = snapshot(f"{served}\n{under_way}\n{counted}")
    assert read(sums.add_up([living]))["sparing_rollout_rows_total a canary"] == 10
    assert read(sums.add_up([snapshot(served)])) == {"sparing_rows_total a": 1}
