"""The cascade's rival is the cheapest single network that is as accurate."""

import numpy as np
import pytest

from benchmarks.dual_cnn import REPORTS, compare_precisions, find_rival
from harness.results import Results, Sample

MEASURED = {
    "fashion-mnist": {"accuracy": 0.932, "macs": 4e6, "device_us_batch_32": 100.0},
    "fashion-mnist-large": {"accuracy": 0.934, "macs": 36e6, "device_us_batch_32": 900.0},
    "cnn-8m": {"accuracy": 0.930, "macs": 8e6, "device_us_batch_32": 150.0},
    "cnn-20m": {"accuracy": 0.932, "macs": 20e6, "device_us_batch_32": 400.0},
}
REPORT = REPORTS["fashion-mnist"]


def collect(table: dict[str, dict[str, float]]) -> Results:
    return Results({}, [
        Sample(case, run, metric, value)
        for case, metrics in table.items() for metric, value in metrics.items() for run in range(3)
    ])  # fmt: skip


def test_the_rival_is_the_cheapest_network_as_accurate_as_the_cascade() -> None:
    results = collect(MEASURED)
    assert find_rival(results, "macs") == "cnn-20m"
    assert all(row.met for row in REPORT.judge(results))
    results = collect(MEASURED | {"cnn-8m": MEASURED["cnn-8m"] | {"accuracy": 0.933}})
    assert find_rival(results, "macs") == "cnn-8m"
    missed = [row.what for row in REPORT.judge(results) if not row.met]
    assert missed == ["Mean device time, of the cheapest single network's that is as accurate"]


def test_without_a_pool_there_is_no_rival() -> None:
    shipped = {case: MEASURED[case] for case in ("fashion-mnist", "fashion-mnist-large")}
    assert [row.met for row in REPORT.judge(collect(shipped))[-2:]] == [None, None]


def test_int8_is_compared_with_float_run_by_run_and_on_the_same_pictures() -> None:
    samples = [
        Sample(case, run, "device_us_batch_32", us)
        for case, times in {"net": (100.0, 200.0), "net-int8": (50.0, 40.0)}.items()
        for run, us in enumerate(times)
    ]
    hits = {"net": np.array([True] * 90 + [False] * 10), "net-int8": np.array([True] * 100)}
    found = Results({}, compare_precisions(samples, hits))
    assert found.cases() == ["net-int8"]
    assert found.values("net-int8", "speedup") == [2.0, 5.0]
    (lead,), (low,) = (found.values("net-int8", name) for name in ("lead", "lead_low"))
    assert lead == pytest.approx(10.0) and 0 < low < 10


def test_the_int8_cascades_rival_is_the_int8_large_model() -> None:
    large = {"accuracy": 0.934, "macs": 36e6, "speedup": 2.0, "lead": 0.0}
    cascade = {**large, "macs": 4e6}
    more = {
        "fashion-mnist int8": cascade | {"device_us_batch_32": 60.0},
        "fashion-mnist-large int8": large | {"device_us_batch_32": 100.0},
        "fashion-mnist mixed": cascade | {"device_us_batch_32": 40.0},
        "fashion-mnist-large mixed": large | {"device_us_batch_32": 100.0},
    }
    first = {"fashion-mnist": MEASURED["fashion-mnist"] | {"vnni": 1.0}}
    results = collect({**MEASURED, **first, **more})
    assert find_rival(results, "macs") == "cnn-20m"
    missed = [row.what for row in REPORT.judge(results) if not row.met]
    assert missed == [
        "Speed of fashion-mnist-large int8, of float32's",
        "Mean device time of the int8 cascade, of the int8 large model's",
    ]
    others = {name: facts for name, facts in more.items() if "large" not in name}
    pool = {"cnn-36m-int8": large | {"device_us_batch_32": 150.0}}
    judged = {
        row.what: row for row in REPORT.judge(collect({**MEASURED, **first, **others, **pool}))
    }
    rival = judged["Mean device time of the int8 cascade, of the int8 large model's"]
    assert (rival.measured, rival.met) == ("40.0 % [40.0–40.0]", True)
