"""Reports: verdicts follow from the samples, and only from them."""

from pathlib import Path

import pytest

from benchmarks.bento.report import COMPARED, judge_bento
from benchmarks.dual_cnn.report import find_rival, judge_dual_cnn
from benchmarks.report import write_report
from benchmarks.reporting.verdicts import Row
from benchmarks.serving.judging import judge_serving
from harness.results import Results, Sample, write_results

SERVING = {
    "small-cnn-http": {"cpu_us": 60.0},
    "echo": {"cpu_us": 30.0},
    "hit": {"cpu_us": 50.0},
    "hit-no-metrics": {"cpu_us": 45.0},
    "hit-json": {"cpu_us": 130.0},
    "echo-json": {"cpu_us": 80.0},
    "small-cnn-grpc": {"cpu_us": 500.0},
    "no-op-grpc": {"cpu_us": 400.0},
    "lone-http": {"p50_ms": 0.5},
    "lone-echo": {"p50_ms": 0.1},
    "cascade": {"cpu_us": 104.0, "requests_s": 9000.0, "p99_ms": 16.0},
    "cascade-no-metrics": {"cpu_us": 100.0},
    "cascade-no-rebatch": {"requests_s": 4100.0, "p99_ms": 28.0},
    "large": {"requests_s": 4000.0, "p99_ms": 27.0},
    "onnx-batch-1": {"p50_ms": 0.15},
    "onnx-batch-32": {"cpu_us": 20.0},
    "start": {"ready_s": 1.5, "resident_mb": 120.0},
}
BENTO = {
    f"{case}-{host}": {"cpu_us": cpu_us}
    for case in COMPARED
    for host, cpu_us in (("sparing", 100.0), ("bento", 160.0))
}
DUAL = {
    "fashion-mnist": {"accuracy": 0.932, "macs": 4e6, "device_us_batch_32": 100.0},
    "fashion-mnist-large": {"accuracy": 0.934, "macs": 36e6, "device_us_batch_32": 900.0},
    "cnn-8m": {"accuracy": 0.930, "macs": 8e6, "device_us_batch_32": 150.0},
    "cnn-20m": {"accuracy": 0.932, "macs": 20e6, "device_us_batch_32": 400.0},
}


def collect(table: dict[str, dict[str, float]], runs: int = 3) -> list[Sample]:
    return [
        Sample(case, run, metric, value)
        for case, metrics in table.items()
        for metric, value in metrics.items()
        for run in range(runs)
    ]


def judge(changes: dict[str, dict[str, float]]) -> dict[str, Row]:
    table = {case: metrics | changes.get(case, {}) for case, metrics in SERVING.items()}
    return {row.what: row for row in judge_serving(Results({}, collect(table)))}


def test_every_serving_target_is_met_by_numbers_within_it() -> None:
    rows = judge({})
    assert len(rows) == 12
    assert [what for what, row in rows.items() if not row.met] == []


@pytest.mark.parametrize(
    ("case", "metric", "value", "missed"),
    [
        ("small-cnn-http", "cpu_us", 95.1, "HTTP binary, 32 connections"),
        ("hit", "cpu_us", 55.1, "Memory hit, HTTP binary"),
        ("hit-json", "cpu_us", 140.1, "Memory hit, HTTP JSON"),
        ("small-cnn-grpc", "cpu_us", 660.1, "gRPC unary"),
        ("lone-http", "p50_ms", 0.501, "One lone request"),
        ("cascade", "requests_s", 7999.0, "Cascade at 64 connections: requests/s"),
        ("cascade", "p99_ms", 27.1, "Cascade at 64 connections: p99"),
        ("cascade", "cpu_us", 105.1, "All metrics on the cascade"),
        ("start", "ready_s", 3.1, "Start to ready"),
        ("start", "resident_mb", 201.0, "Resident memory"),
    ],
)
def test_a_number_past_its_limit_is_a_miss(
    case: str, metric: str, value: float, missed: str
) -> None:
    found = [what for what, row in judge({case: {metric: value}}).items() if not row.met]
    assert any(what.startswith(missed) for what in found)


def test_the_target_moves_with_its_baseline() -> None:
    row = judge({"echo": {"cpu_us": 10.0}})["Memory hit, HTTP binary: CPU a request"]
    assert row.target == "≤ 35.0 µs" and row.met is False
    assert row.sentence().endswith("(echo 10.0 µs + 25 µs): missed.")


def test_one_wrong_answer_is_a_miss() -> None:
    rows = judge({"cascade": {"wrong": 1.0}})
    assert rows["Errors and wrong answers under load"].met is False


def test_metrics_are_compared_run_by_run() -> None:
    samples = [s for s in collect(SERVING) if not s.case.startswith("hit")]
    for run, drift in enumerate((0.0, 100.0, 200.0)):
        samples.append(Sample("hit", run, "cpu_us", 50.0 + drift))
        samples.append(Sample("hit-no-metrics", run, "cpu_us", 45.0 + drift))
        samples.append(Sample("hit-json", run, "cpu_us", 100.0))
    rows = {row.what: row for row in judge_serving(Results({}, samples))}
    assert rows["All metrics on a memory hit: more CPU"].measured == "5.0 µs [5.0–5.0]"


def test_the_rival_is_the_cheapest_net_as_accurate_as_the_cascade() -> None:
    results = Results({}, collect(DUAL))
    assert find_rival(results, "macs") == "cnn-20m"
    assert all(row.met for row in judge_dual_cnn(results))
    cheaper = DUAL | {"cnn-8m": DUAL["cnn-8m"] | {"accuracy": 0.933}}
    results = Results({}, collect(cheaper))
    assert find_rival(results, "macs") == "cnn-8m"
    missed = [row.what for row in judge_dual_cnn(results) if not row.met]
    assert len(missed) == 1 and "device time, of the cheapest" in missed[0]


def test_without_a_pool_the_rival_is_said_to_be_unmeasured() -> None:
    shipped = {case: DUAL[case] for case in ("fashion-mnist", "fashion-mnist-large")}
    rows = judge_dual_cnn(Results({}, collect(shipped)))
    assert [row.met for row in rows[-2:]] == [None, None]
    assert "not measured, no pool was measured" in rows[-1].sentence()


def test_each_kind_of_request_is_held_to_its_own_limit_as_a_guest_of_bentoml() -> None:
    rows = judge_bento(Results({}, collect(BENTO)))
    assert len(rows) == len(COMPARED) + 1
    assert all(row.met for row in rows)
    for case, words in COMPARED.items():
        dearer = BENTO | {f"{case}-bento": {"cpu_us": 161.0}}
        missed = [row for row in judge_bento(Results({}, collect(dearer))) if not row.met]
        assert [row.what.endswith(words) for row in missed] == [True]
        assert missed[0].measured == "1.61 × [1.61–1.61]"
    wrong = BENTO | {"hit-bento": {"cpu_us": 100.0, "wrong": 1.0}}
    assert [row.met for row in judge_bento(Results({}, collect(wrong)))][-1] is False


@pytest.mark.parametrize(
    ("bench", "table"), [("serving", SERVING), ("dual_cnn", DUAL), ("bento", BENTO)]
)
def test_a_report_has_every_target_case_and_a_picture(
    tmp_path: Path, bench: str, table: dict[str, dict[str, float]]
) -> None:
    source = write_results(bench, f"python -m benchmarks.{bench}", collect(table), tmp_path)
    text = write_report(bench, source, tmp_path / "reports").read_text()
    assert (tmp_path / "reports" / "img" / f"{bench}.png").stat().st_size > 1000
    assert source.name in text and f"`python -m benchmarks.{bench}`" in text
    assert all(f"| {case} |" in text for case in table)
    assert "missed" not in text
