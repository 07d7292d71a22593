"""Accuracy and MACs of every net on the test set, compared with the dense net picture by picture.

Nets with learners are run as the server runs them, from their ONNX file, tokens sorted. Two counts
of MACs are kept: what was chosen, as the paper counts, and what ran, where narrow projections run
all learners. Gates are in both.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.acm.names import (
    ACM,
    BETAS,
    FITTED_SHARES,
    FURTHER,
    SINGLE,
    TEACHER,
    fitted,
    point,
)
from benchmarks.acm.nets import Nets, Say
from cascades.pairs import compare_pairs
from harness.results import Sample
from tokens.acm.network import AcmVit, count_dense
from training.data.sets import DataSet, Split
from training.export.acm_graph import export_acm
from training.export.acm_route import run_acm
from training.token_baselines.judging import Hits, Point, judge, judge_merging
from training.token_baselines.methods import DENSE, SIZES

TWO_SIDED_95 = 1.959964
FITTING_ROWS = 1_000
HALVINGS = 7

Reference = dict[str, Hits]  # by the name of the metric: what a net is compared with


def judge_nets(nets: Nets, data: DataSet, work: Path, say: Say) -> Iterator[Sample]:
    """All samples; `work` takes the ONNX files."""
    dense_macs = count_dense(nets.dense.spec)
    (teacher,) = judge(nets.dense, data.held_out, data.test)
    references = {"over_teacher": teacher.hits}
    yield from _write(TEACHER, teacher, dense_macs, {})
    if DENSE in nets.baselines:
        (further,) = judge(nets.baselines[DENSE], data.held_out, data.test)
        yield from _write(FURTHER, further, dense_macs, references)
        references["over_further"] = further.hits
    for name, one in _judge_baselines(nets, data, say):
        yield from _write(name, one, dense_macs, references)
    every: dict[float, Hits] = {}
    if nets.acm is not None:
        path = export(nets.acm, work / "acm.onnx")
        for name, beta in _list_budgets(nets, nets.acm, path, data.held_out, dense_macs, say):
            say(f"judging {name}")
            found, ran = run_on(nets.acm, path, data.test, beta)
            every[beta] = found.hits
            yield from _write(name, found, dense_macs, references)
            yield Sample(name, 0, "ran_share", ran / dense_macs)
            yield Sample(name, 0, "beta", beta)
    for beta, net in nets.singles.items():
        name = point(SINGLE, beta)
        say(f"judging {name}")
        found, ran = run_on(net, export(net, work / "single.onnx"), data.test, beta)
        yield from _write(name, found, dense_macs, references)
        yield Sample(name, 0, "ran_share", ran / dense_macs)
        if beta in every:
            yield from compare(name, "over_every", found.hits, every[beta])


def export(net: AcmVit, path: Path) -> Path:
    """The net's graph, over an earlier one."""
    export_acm(net, path)
    return path


def run_on(net: AcmVit, path: Path, split: Split, beta: float) -> tuple[Point, float]:
    """The net at one budget, with the MACs that were chosen; and those that ran."""
    ran = run_acm(net, path, split.pictures, beta)
    hits: Hits = ran.logits.argmax(axis=1) == split.labels
    return Point(f"β {beta:g}", hits, float(ran.chosen_macs.mean())), float(ran.macs.mean())


def fit_beta(count: Callable[[float], float], wanted: float) -> float:
    """The budget whose cost is nearest to `wanted`, for costs that rise with it: 0 if every budget
    costs more, 1 if every one costs less."""
    low, high = 0.0, 1.0
    if count(low) >= wanted:
        return low
    if count(high) <= wanted:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return (low + high) / 2


def compare(name: str, metric: str, hits: Hits, reference: Hits) -> Iterator[Sample]:
    """The difference in points, and half of its 95 % interval, paired by picture."""
    difference, error = compare_pairs(hits, reference)
    yield Sample(name, 0, metric, 100 * difference)
    yield Sample(name, 0, f"{metric}_margin", 100 * TWO_SIDED_95 * error)


def _judge_baselines(nets: Nets, data: DataSet, say: Say) -> Iterator[tuple[str, Point]]:
    for name, net in nets.baselines.items():
        if name == DENSE:
            continue
        say(f"judging {name}")
        family = "smaller" if name in SIZES else name
        for one in judge(net, data.held_out, data.test):
            yield point(family, one.at or name.removeprefix("smaller-")), one
    say("judging merged tokens without training")
    dense = nets.baselines.get(DENSE, nets.dense)
    for one in judge_merging(dense, data.test):  # type: ignore[arg-type]
        yield point("merging-untrained", one.at), one


def _list_budgets(
    nets: Nets, net: AcmVit, path: Path, held_out: Split, dense_macs: int, say: Say
) -> Iterator[tuple[str, float]]:
    for beta in sorted({*BETAS, *nets.singles}):
        yield point(ACM, beta), beta
    some = Split(held_out.pictures[:FITTING_ROWS], held_out.labels[:FITTING_ROWS])
    for share in FITTED_SHARES:
        say(f"looking for the budget at {100 * share:.0f} % of the dense net's MACs")
        beta = fit_beta(lambda beta: run_on(net, path, some, beta)[0].macs / dense_macs, share)
        if beta in (0.0, 1.0):
            say(f"no budget takes {100 * share:.0f} %; β = {beta:g} comes nearest")
        yield fitted(share), beta


def _write(name: str, found: Point, dense_macs: int, references: Reference) -> Iterator[Sample]:
    yield Sample(name, 0, "accuracy", 100 * found.accuracy)
    yield Sample(name, 0, "mmacs", found.macs / 1e6)
    yield Sample(name, 0, "share", found.macs / dense_macs)
    for metric, hits in references.items():
        yield from compare(name, metric, found.hits, hits)
