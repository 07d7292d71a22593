"""The cascade without a server: targets and plots.

The first two cases of a result file are the cascade and the large model, the others the pool's
networks.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Floats, Target, each, ratio, value
from harness.results import Results

MEASURES = {"device time": "device_us_batch_32", "MACs": "macs"}
# By data set, in per cent and points of the test set: the cascade's accuracy, and what it may lose.
LIMITS = {"fashion-mnist": (93.0, 0.3), "cifar10": (91.5, 0.5)}
LARGE_LIMITS = {"fashion-mnist": 93.3}
COLUMNS = plain({
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "device_us_batch_32": "device µs, batch 32",
    "device_us_batch_1": "device µs, batch 1",
})  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    cascade, large = results.cases()[:2]
    least, lost = LIMITS[cascade]
    return [
        *(
            Target("Accuracy of the large model", value(large, "accuracy", 100), at_least=limit,
                   unit="%", digits=2)
            for data, limit in LARGE_LIMITS.items() if data == cascade
        ),
        Target("Accuracy of the cascade", value(cascade, "accuracy", 100), at_least=least,
               unit="%", digits=2),
        Target("Accuracy lost by the cascade",
               lambda r: 100 * (each(r, large, "accuracy") - each(r, cascade, "accuracy")), lost,
               unit="points", digits=2),
        *(
            Target(f"Mean {what}, of the large model's", ratio(cascade, large, metric, 100), 20,
                   unit="%")
            for what, metric in MEASURES.items()
        ),
        *(
            Target(f"Mean {what}, of the cheapest single network's that is as accurate",
                   _beside_rival(metric), 50, unit="%")
            for what, metric in MEASURES.items()
        ),
    ]  # fmt: skip


def find_rival(results: Results, metric: str) -> str | None:
    """The single network cheapest by `metric` that is as accurate as the cascade, or None."""
    cascade, large, *nets = results.cases()
    least = results.median(cascade, "accuracy")
    able = [net for net in (*nets, large) if results.median(net, "accuracy") >= least]
    return min(able, key=lambda net: results.median(net, metric), default=None) if nets else None


def _beside_rival(metric: str) -> Figure:
    def figure(results: Results) -> Floats:
        rival = find_rival(results, metric)
        if rival is None:
            return np.array([])
        return 100 * each(results, results.cases()[0], metric) / each(results, rival, metric)

    return figure


def draw(results: Results) -> list[Panel]:
    """Accuracy against MACs and against device time."""
    return [
        Curves("", label, "test accuracy, %", {
            case: [(results.median(case, metric) / scale, 100 * results.median(case, "accuracy"))]
            for case in results.cases()
        }, log="x", named=True, marked=results.cases()[:2])
        for metric, scale, label in (("macs", 1e6, "mean MMACs a picture"),
                                     ("device_us_batch_32", 1, "mean device time a picture, µs"))
    ]  # fmt: skip


REPORTS = {
    data: Report(bench, bench, f"What the cascade saves on {data}", list_targets, draw,
                 [Table(COLUMNS)])
    for data, bench in (("fashion-mnist", "dual_cnn"), ("cifar10", "dual_cnn_cifar10"))
}  # fmt: skip
