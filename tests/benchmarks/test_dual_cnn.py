"""The cascade's rival is the cheapest single network that is as accurate."""

from benchmarks.dual_cnn import REPORTS, find_rival
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
