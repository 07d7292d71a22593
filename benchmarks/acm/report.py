"""What the report of nets with learners is made of: targets, plots, tables. Needs no torch."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.acm.names import (
    ABLATIONS,
    ACM,
    BATCHES,
    FAMILIES,
    FITTED,
    FURTHER,
    LAYER_ROWS,
    SERVED,
    SERVED_CONNECTIONS,
    SERVED_ROUTES,
    SINGLE,
    TEACHER,
    THREADS,
    TIMED_BETAS,
    fitted,
    point,
    timed,
    timed_layer,
)
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel, Points
from benchmarks.reporting.tables import Column, Table, plain
from benchmarks.reporting.targets import FAULTS, Figure, Floats, Target, ratio, value
from harness.results import Results

GRID = np.arange(0.30, 0.801, 0.05)  # shares of the dense net's MACs
DRAWN_FAMILIES = ("smaller", "exits-trained", "merging-untrained", "merging")
HEAT_MAPS = "acm-learners"
SHORT = {1: "one thread", 2: "two threads"}
FURTHER_WORDS = "the teacher trained on"


def read_curve(results: Results, *families: str) -> tuple[Floats, Floats]:
    """Shares of MACs, rising, and the best accuracy up to each. KeyError without a point."""
    points = sorted(_list_points(results, families))
    if not points:
        raise KeyError(f"{families}: no point")
    shares, accuracies = np.array(points).T
    return shares, np.maximum.accumulate(accuracies)


def least_lead(family: str) -> Figure:
    """By how many points the net for every budget is above a baseline's curve, at the worst share
    between 30 % and 80 % that both curves reach."""

    def figure(results: Results) -> Floats:
        own, other = read_curve(results, ACM, FITTED), read_curve(results, family)
        low, high = (limit(own[0][at], other[0][at]) for at, limit in ((0, max), (-1, min)))
        shares = GRID[(low <= GRID) & (high >= GRID)]
        if not len(shares):
            raise KeyError(f"{family}: no share of both curves")
        leads = np.interp(shares, *own) - np.interp(shares, *other)
        return np.array([leads.min()])

    return figure


def worst_excess(cases: Sequence[str]) -> Figure:
    """The ratio of times less that of MACs, run by run, of the worst case."""

    def figure(results: Results) -> Floats:
        found = [
            np.array(results.values(case, "ratio")) - results.median(case, "ran_ratio")
            for case in cases
        ]
        return max(found, key=np.median)

    return figure


def worst_ratio(cases: Sequence[str]) -> Figure:
    """The ratio of times, run by run, of the worst case."""
    return lambda results: max(
        (np.array(results.values(case, "ratio")) for case in cases), key=np.median
    )


def served_excess(metric: str) -> Figure:
    """The ratio of times through the server less that of MACs, run by run."""

    def figure(results: Results) -> Floats:
        dense, learners = (SERVED.format(words, SERVED_CONNECTIONS[0]) for words in SERVED_ROUTES)
        ran = results.median(learners, "served_mmacs") / results.median(dense, "served_mmacs")
        return ratio(learners, dense, metric)(results) - ran

    return figure


def list_targets(results: Results) -> list[Target]:
    is_served = any(sample.metric == "errors" for sample in results.samples)
    return [
        Target("Accuracy of the teacher", value(TEACHER, "accuracy"), at_least=93, unit="%",
               digits=2),
        *_list_accuracy_targets(),
        *_list_served_targets(),
        *(target for threads in THREADS
          for target in (*_list_net_targets(threads), *_list_layer_targets(threads))),
        *([FAULTS] if is_served else []),
    ]  # fmt: skip


def list_tiny_targets(_: Results) -> list[Target]:
    """Those of a data set that has no routes."""
    times = [target for threads in THREADS for target in _list_net_targets(threads)]
    return [*_list_accuracy_targets(), *times]


def _list_accuracy_targets() -> Iterator[Target]:
    yield Target("Least MACs of the net for every budget, of the dense net's",
                 value(point(ACM, 0.0), "share", 100), 35, unit="%", digits=1)  # fmt: skip
    for share, limit in ((0.5, 0.5), (0.35, 1.5)):
        for metric, words in (("over_teacher", "the teacher"), ("over_further", FURTHER_WORDS)):
            yield Target(f"Points below {words} at {100 * share:.0f} % of its MACs, or the nearest",
                         value(fitted(share), metric, -1), limit, unit="points",
                         digits=2)  # fmt: skip
    for family, words in FAMILIES.items():
        yield Target(f"Least lead over {words}, 30 % to 80 % of the MACs", least_lead(family),
                     at_least=0, unit="points", digits=2)  # fmt: skip
    for beta in TIMED_BETAS:
        yield Target(f"Points below the net for β = {beta:g} alone",
                     value(point(SINGLE, beta), "over_every"), 0.5, unit="points",
                     digits=2)  # fmt: skip


def _list_served_targets() -> Iterator[Target]:
    dense, learners = (SERVED.format(words, SERVED_CONNECTIONS[1]) for words in SERVED_ROUTES)
    together = f"{SERVED_CONNECTIONS[0]} requests at once through the server"
    yield Target(f"CPU ratio less that of MACs that ran, {together}",
                 served_excess("cpu_us"), 0.25, digits=2)  # fmt: skip
    yield Target(f"Stage's time ratio less that of MACs that ran, {together}",
                 served_excess("device_us"), 0.25, digits=2)  # fmt: skip
    yield Target("CPU ratio of a lone request through the server",
                 ratio(learners, dense, "cpu_us"), 1.05, digits=2)  # fmt: skip


def _list_net_targets(threads: int) -> Iterator[Target]:
    """The worse of the budgets counts."""
    for rows, limit in zip(BATCHES[1:], (0.25, 0.07), strict=True):
        cases = [timed(rows, beta, threads) for beta in TIMED_BETAS]
        yield Target(f"Time ratio less that of MACs that ran, {rows} pictures, {SHORT[threads]}",
                     worst_excess(cases), limit, digits=2)  # fmt: skip
    alone = [timed(1, beta, threads) for beta in TIMED_BETAS]
    yield Target(f"Time ratio of a lone picture, {SHORT[threads]}", worst_ratio(alone), 1.05,
                 digits=2)  # fmt: skip


def _list_layer_targets(threads: int) -> Iterator[Target]:
    for shape in ("ViT-S", "ViT-B"):
        cases = [timed_layer(shape, beta, threads) for beta in TIMED_BETAS]
        yield Target(f"The same for a layer of {shape}, {LAYER_ROWS} pictures, {SHORT[threads]}",
                     worst_excess(cases), 0.07, digits=2)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    curves: dict[str, Points] = {}
    families = [("nets for one budget", (SINGLE,)), ("one net for every budget", (ACM, FITTED))]
    families += [(FAMILIES[name], (name,)) for name in DRAWN_FAMILIES]
    for words, names in families:
        points = [(100 * share, accuracy) for share, accuracy in _list_points(results, names)]
        if points:
            curves[words] = sorted(points)
    curves = curves or {"the teacher": [(100.0, results.median(TEACHER, "accuracy"))]}
    panels: list[Panel] = [Curves("accuracy on the test set", "MACs, % of the dense net's",
                                  "accuracy, %", curves)]  # fmt: skip
    if times := _list_times(results):
        title = "CPU time of a picture, 64 in a batch, one thread"
        axes = ("MACs, % of the dense net's", "time, % of the dense net's")
        panels.append(Curves(title, *axes, times))
    return panels


def _list_times(results: Results) -> dict[str, Points]:
    found: dict[str, Points] = {"as its MACs": [(20, 20), (100, 100)]}
    learners = [(timed(BATCHES[-1], beta, 1), "ratio", "chosen_ratio") for beta in TIMED_BETAS]
    for words, cases in (
        ("one net for every budget", learners),
        *((FAMILIES[name], _list_timed(results, name)) for name in DRAWN_FAMILIES),
    ):
        points = [
            (100 * results.median(case, share), 100 * results.median(case, ratio))
            for case, ratio, share in cases
            if case in results.cases()
        ]
        if points:
            found[words] = sorted(points)
    return found if len(found) > 1 else {}


def _list_timed(results: Results, family: str) -> list[tuple[str, str, str]]:
    timed_cases = {one.case for one in results.samples if one.metric == "time_ratio"}
    return [(case, "time_ratio", "timed_share") for case in sorted(timed_cases)
            if case.startswith(f"{family}, ")]  # fmt: skip


def _list_points(results: Results, families: Sequence[str]) -> list[tuple[float, float]]:
    """The share of MACs and the accuracy of each case. Smaller nets end in the dense one."""
    ends = [FURTHER, TEACHER] if families == ("smaller",) else []
    judged = {one.case for one in results.samples if one.metric == "accuracy"}
    end = next((case for case in ends if case in judged), None)
    cases = [case for case in judged if case.split(", ")[0] in families]
    if cases and end:
        cases.append(end)
    return [(results.median(case, "share"), results.median(case, "accuracy")) for case in cases]


def _per_cent(title: str, metric: str) -> Column:
    return Column(title, (metric,), 100, 1)


_PAIRED = (
    Column("points above the teacher", ("over_teacher",), digits=2),
    Column("±", ("over_teacher_margin",), digits=2),
    Column("above it trained on", ("over_further",), digits=2),
    Column("±", ("over_further_margin",), digits=2),
)
_TIMES = (
    Column("dense µs", ("dense_us",), digits=0),
    Column("masked µs", ("masked_us",), digits=0),
    Column("sorted µs", ("sorted_us",), digits=0),
    Column("time ratio", ("ratio",), digits=2),
    Column("MAC ratio, what ran", ("ran_ratio",), digits=2),
    Column("what was chosen", ("chosen_ratio",), digits=2),
)
_SERVED = plain({
    "cpu_us": "CPU µs/request",
    "device_us": "stage µs/picture",
    "served_mmacs": "MMACs/picture",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
})  # fmt: skip
TABLES = (
    Table(
        (
            Column("accuracy %", ("accuracy",), digits=2),
            Column("MMACs", ("mmacs",), digits=1),
            _per_cent("% of the dense net's", "share"),
            _per_cent("% that ran", "ran_share"),
            *_PAIRED,
        ),
        "Accuracy on the test set and MACs a picture, attention, stem and gates counted. ± is half "
        "of the 95 % interval, paired by picture. What ran is more than what was chosen where "
        "narrow projections run all learners:",
    ),
    Table(
        (
            Column("points above the net for every budget", ("over_every",), digits=2),
            Column("±", ("over_every_margin",), digits=2),
        ),
        "Nets for one budget, beside the net for every budget at the same β:",
    ),
    Table(
        _TIMES,
        "Times a picture in ONNX Runtime. One thread: CPU time; two threads: time that passed. A "
        "layer has random weights, 196 tokens a picture, 8 pictures, and the trained gates' "
        "distribution of choices:",
    ),
    Table(
        _SERVED,
        "Copies of the shipped routes, both with a batch limit of 32 (the dense one is shipped "
        "with 2), through the server over binary HTTP, one picture a request, the default budget, "
        "cache off:",
    ),
    Table(
        (
            Column("time ratio", ("time_ratio",), digits=2),
            _per_cent("MACs, % of the dense net's", "timed_share"),
        ),
        "Time of baselines over the dense net's, 64 pictures, one thread. Smaller nets in ONNX "
        "Runtime; the others in torch, beside the dense net in torch:",
    ),
    Table(
        (
            *(Column(f"{count} learners" if count != 1 else "1 learner", (f"k{count}",), digits=1)
              for count in range(5)),
            Column("mean", ("mean_learners",), digits=2),
        ),
        "Tokens of test pictures by the number of learners that gates chose at β = 0.5, in %:",
    ),
    Table(
        (
            Column("accuracy %", ("ablation_accuracy",), digits=2),
            _per_cent("MACs, % of the dense net's", "ablation_share"),
            Column("entropy of a picture's choices", ("entropy",), digits=3),
            Column("difference between pictures", ("difference",), digits=4),
            Column("tokens of the commonest choice, %", ("commonest",), digits=1),
        ),
        "The last phase for a part of an epoch, with and without losses, at β = 0.5 on a part of "
        "the test pictures. Entropy is that of an even spread times this; the difference is "
        "between two pictures' shares of executed learners:",
        ABLATIONS,
    ),
)  # fmt: skip

REPORTS = {
    "fashion-mnist": Report(
        "acm",
        "acm",
        "Adaptive computation modules: accuracy and time",
        list_targets,
        draw,
        TABLES,
        images=((HEAT_MAPS, "Executed learners of test pictures"),),
    ),
    "tiny-imagenet-30": Report(
        "acm_tiny_imagenet",
        "acm",
        "Adaptive computation modules on Tiny-ImageNet-30",
        list_tiny_targets,
        draw,
        TABLES,
    ),
}
