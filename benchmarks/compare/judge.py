"""The comparison's targets, held against what was measured on one data set.

Ratios of times are taken run by run, as all contestants take turns in every run; accuracies are
means over seeds.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.compare.measuring.contestants import BASELINE, CONVERTERS
from benchmarks.compare.measuring.frozen import AS_IT_IS
from benchmarks.compare.scores import (
    POINTS,
    compare_accuracy,
    find_best_converter,
    has,
    says_points,
    says_seeds,
    stand,
)
from benchmarks.reporting.verdicts import Row, at_least, at_most, each, median
from harness.results import FOLDER, Results, find_newest, read_results

EXITS, DENSE = "branchynet", "cbnet-dense"
CONTROLS = ("light-distilled", "small", "dual")  # that must be in the table


@dataclass(frozen=True, slots=True)
class Target:
    """What a data set's converters have to reach, in per cent of the test set."""

    published: float
    best: float
    leave: float | None = None  # at exit 1
    exits: float | None = None  # the accuracy they leave with


TARGETS = {
    "mnist": Target(published=98.6, best=99.3, leave=94.0, exits=99.1),
    "fashion-mnist": Target(published=89.6, best=91.5),
}


def find_data(results: Results) -> str:
    return results.facts["bench"].removeprefix("compare_")


def judge_compare(results: Results) -> list[Row]:
    """Every target of the comparison."""
    target, best = TARGETS[find_data(results)], find_best_converter(results)
    rows = [
        _judge_accuracy(
            results, "Accuracy where every picture is converted, cbnet", "cbnet", target.published
        ),
        _judge_accuracy(
            results, "The same with the authors' own nets, cbnet-dense", DENSE, target.published
        ),
        _judge_accuracy(results, f"Accuracy of the best converter, {best}", best, target.best),
        _judge_time(results, best, "bare_us", "bare nets"),
        _judge_time(results, best, "bulk_device_us", "in the server's stages"),
        _judge_saving(results, best, BASELINE, 79.0),
        _judge_saving(results, best, EXITS, 30.0),
        _judge_controls(results, best),
    ]
    if target.leave is not None and target.exits is not None:
        rows += _judge_exits(results, target.leave, target.exits)
    else:
        rows.append(_judge_rebatching())
    faults = sum(s.value for s in results.samples if s.metric.endswith(("_errors", "_wrong")))
    why = "every answer was compared with the replay's"
    return [*rows, at_most("Errors and wrong answers under load", [faults], 0, "", why, 0)]


def _judge_accuracy(results: Results, what: str, name: str, bound: float) -> Row:
    values = each(results, name, "accuracy") * POINTS
    words = says_seeds(values.tolist(), 2)
    return at_least(what, [float(values.mean())], bound, "%", words, 2)


def _judge_time(results: Results, best: str, metric: str, where: str) -> Row:
    """Only at LeNet's accuracy or better."""
    ratio = each(results, BASELINE, metric) / each(results, best, metric)
    ours, theirs = (results.median(name, metric) for name in (best, BASELINE))
    points = compare_accuracy(results, best, BASELINE)
    words = f"{ours:.1f} of {theirs:.1f} µs in batches, {says_points(points)} of accuracy"
    if metric != "bare_us":
        ours, theirs = (
            results.median(name, metric) - results.median(name, "bare_us")
            for name in (best, BASELINE)
        )
        words += f"; of these {ours:.1f} and {theirs:.1f} µs are not the nets'"
    row = at_least(
        f"Device time of the best converter, {best}, {where}: times less than LeNet's, at its "
        "accuracy or better", ratio, 6.0, "×", words, 1,
    )  # fmt: skip
    return Row(row.what, row.target, row.measured, bool(row.met) and points[0] >= 0, row.why)


def _judge_saving(results: Results, best: str, other: str, bound: float) -> Row:
    saved, single = (
        100 * (1 - each(results, best, metric) / each(results, other, metric))
        for metric in ("bulk_cpu_us", "many_cpu_us")
    )
    points = compare_accuracy(results, best, other)
    ours, theirs = (results.median(name, "bulk_cpu_us") for name in (best, other))
    stages = 100 * (
        1 - results.median(best, "bulk_device_us") / results.median(other, "bulk_device_us")
    )
    row = at_least(
        f"CPU-seconds saved by the best converter, {best}, against {other}, at its accuracy or "
        "better", saved, bound, "%",
        f"whole server, 32 pictures a request, {ours:.1f} of {theirs:.1f} µs; one picture a "
        f"request {median(single):.0f} %; inside the stages alone {stages:.0f} %; "
        f"{says_points(points)} of accuracy", 0,
    )  # fmt: skip
    return Row(row.what, row.target, row.measured, bool(row.met) and points[0] >= 0, row.why)


def _judge_controls(results: Results, best: str) -> Row:
    """Met where the table has all controls and the verdict can say when converting wins."""
    standings = stand(results)
    beaten_by = [
        name for name, other in standings.items()
        if name not in CONVERTERS and other.beats(standings[best])
    ]  # fmt: skip
    measured = f"beaten by {', '.join(beaten_by)}" if beaten_by else "no control beats it"
    words = "who is at least as accurate, by means over seeds, and takes no more CPU end to end"
    what, target = f"The best converter, {best}, against the controls", "the verdict says who wins"
    missing = [name for name in CONTROLS if name not in standings]
    if not has(results, AS_IT_IS, "accuracy"):
        missing.append("the frozen classifier")
    if missing:
        return Row(what, target, measured, None, f"without {', '.join(missing)}")
    return Row(what, target, measured, True, words)


def _judge_exits(results: Results, leave: float, accuracy: float) -> list[Row]:
    left = each(results, EXITS, "ended_0") * POINTS
    right = each(results, EXITS, "accuracy") * POINTS
    own = each(results, EXITS, "right_0") * POINTS
    return [
        at_least("Pictures that leave BranchyNet at exit 1", [float(np.mean(left))], leave, "%",
                 says_seeds(left.tolist(), 1), 1),
        at_least("Accuracy of BranchyNet with its exits", [float(np.mean(right))], accuracy, "%",
                 f"{says_seeds(right.tolist(), 2)}; of those that leave at exit 1 "
                 f"{np.mean(own):.2f} %", 2),
    ]  # fmt: skip


def _judge_rebatching() -> Row:
    """What `sparing bench exits` measured last, on a large net of its own."""
    target, least_us = 1.5, 500.0
    what = f"Requests/s of a net of ≥ {least_us:.0f} µs with two exits, of the same net's without"
    try:
        exits = read_results(find_newest("exits", FOLDER))
    except FileNotFoundError:
        return Row(what, f"≥ {target} ×", "–", None, "sparing bench exits was not run")
    ratio = each(exits, "exits", "requests_s") / each(exits, "whole", "requests_s")
    device_us = exits.median("whole", "device_us")
    why = f"{device_us:.0f} µs a picture without exits; its own report has more"
    row = at_least(what, ratio, target, "×", why, 2)
    return Row(row.what, row.target, row.measured, bool(row.met) and device_us >= least_us, row.why)
