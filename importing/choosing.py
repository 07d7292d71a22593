"""Chooses what to serve: members, order, score, combination, temperatures and thresholds.

Everything is chosen out of fold on the rows that choose, in measured time; the test rows judge the
result once.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from cascades.answer_kinds import ONE_LABEL, AnswerKind
from cascades.candidates import Candidate, Member, trace_members
from cascades.selection import select_cheapest
from cascades.thresholds import MAX_STAGES, Grades, Trace, simulate
from core.devices.int8_speed import MAX_RATIO
from importing.energy import EnergySource
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed
from importing.quantising import SUFFIX, can_quantise, find_outer_nodes, quantise_stage
from importing.stage_files import INT8, StageFile, run_rows
from importing.verdict import Measure, Verdict, VerdictRow, compare_hits, write_sentence

FOLDS = 5
MAX_DROP = 0.005  # of a twin's accuracy on the choosing rows; more keeps its outer operators float
MAX_DROP_AT_ALL = 0.02  # more, and the twin is no candidate
MIN_SAVING = 0.05  # of the reference's time; less is within the noise of the clock
FEW_HITS = 0.15  # a permutation of the classes that gains more is a fault of the labels

Places = npt.NDArray[np.intp]  # numbers of rows


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate's file with its logits on all rows, and its time."""

    stage: StageFile
    logits: npt.NDArray[np.float32]  # [N, K] of all rows
    us_per_row: float = 0.0
    mj_per_row: float | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows that choose and the rows that test."""

    choose: Places
    test: Places


def run_stage(stage: StageFile, rows: Feed) -> Measured:
    """Run all rows through a stage. Raises ImportFault if an answer is not finite."""
    logits = run_rows(stage.open(), rows, batches=stage.batches)[0]
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise ImportFault(f"stage {stage.name}: its answer to row {row} of the data is not finite")
    return Measured(stage, logits.astype(np.float32))


def make_twin(
    float_stage: Measured,
    rows: Feed,
    labels: Array,
    parts: Parts,
    kind: AnswerKind = ONE_LABEL,
) -> Measured | str:
    """Return the int8 twin, or the clause that says why there is none."""
    stage = float_stage.stage
    if stage.precision == INT8:
        return f"{stage.name}: is int8 already"
    if not can_quantise(stage):
        return f"{stage.name}: has no operator that int8 makes faster"
    chosen = {name: values[parts.choose] for name, values in rows.items()}
    truth = labels[parts.choose]
    base = float(kind.grade_logits(float_stage.logits[parts.choose], truth).mean())
    try:
        twin = run_stage(quantise_stage(stage, chosen), rows)
    except ImportFault as fault:
        return f"{stage.name}: no int8 file: {fault}"
    drop = base - float(kind.grade_logits(twin.logits[parts.choose], truth).mean())
    if drop > MAX_DROP and (kept := find_outer_nodes(twin.stage)):
        with suppress(ImportFault):  # then the twin without it is judged
            twin = run_stage(quantise_stage(stage, chosen, kept=kept), rows)
            drop = base - float(kind.grade_logits(twin.logits[parts.choose], truth).mean())
    if drop <= MAX_DROP_AT_ALL:
        return twin
    return f"{stage.name}: in int8 it loses {drop * 100:.1f} points, so it is no candidate"


def quantise_outputs(stage: StageFile, rows: Feed, parts: Parts) -> StageFile:
    """Return the int8 file of a model with outputs of its own, compared with it on the test rows.

    Raises ImportFault if there is none, or an output's correlation with its float one is small.
    """
    place = f"--compress int8: {stage.name}"
    if stage.precision == INT8:
        return stage
    if not can_quantise(stage):
        raise ImportFault(f"{place} has no operator that int8 makes faster; use --compress auto")
    chosen, judged = (
        {name: values[places] for name, values in rows.items()}
        for places in (parts.choose, parts.test)
    )
    twin = quantise_stage(stage, chosen)
    before, after = (run_rows(one.open(), judged, batches=one.batches) for one in (stage, twin))
    for tensor, left, right in zip(stage.outputs, before, after, strict=True):
        alike = correlate(left, right)
        if not alike >= 1 - MAX_DROP_AT_ALL:  # NaN is not
            raise ImportFault(
                f"{place} in int8 gives other values of {tensor.name} (correlation {alike:.3f}, "
                f"at least {1 - MAX_DROP_AT_ALL} is needed); use --compress auto"
            )
    return twin


def correlate(before: Array, after: Array) -> float:
    """Return the correlation of two arrays' values; 1 where both are constant and equal."""
    left, right = (np.asarray(one, np.float64).ravel() for one in (before, after))
    if left.shape != right.shape:
        return 0.0
    if np.array_equal(left, right):
        return 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(left, right)[0, 1])


def check_answers(logits: Array, labels: Array, path: str) -> None:
    """Recognise labels in another order, and a model that only guesses. Raises ImportFault."""
    classes = logits.shape[1]
    answers = logits.argmax(axis=1)
    accuracy = float((answers == labels).mean())
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (answers, labels), 1)
    best = counts.argmax(axis=1)  # the data's class that each answer mostly is
    permuted = float((best[answers] == labels).mean())
    moved = np.flatnonzero((best != np.arange(classes)) & (counts.sum(axis=1) > 0))
    if len(set(best.tolist())) == classes and permuted - accuracy > FEW_HITS and moved.size:
        first = int(moved[0])
        raise ImportFault(
            f"{path}: the labels have another order than the model: its class {first} is mostly "
            f"the data's class {best[first]}, and so on for {moved.size} classes; with that order "
            f"{permuted:.1%} would be right instead of {accuracy:.1%}"
        )
    guess = float(np.bincount(labels, minlength=classes).max() / len(labels))
    if accuracy <= guess + 2 * (guess * (1 - guess) / len(labels)) ** 0.5:
        raise ImportFault(
            f"{path}: {accuracy:.1%} of the rows are right, always naming one class gives "
            f"{guess:.1%}; check its preprocessing, its output and the order of the labels"
        )


def choose_route(
    pool: Mapping[str, Measured],
    labels: Array,
    parts: Parts,
    *,
    reference: str,
    max_loss: float,
    kind: AnswerKind = ONE_LABEL,
    only_int8: bool = False,
    max_stages: int = MAX_STAGES,
) -> Candidate:
    """Choose the cheapest cascade or single stage that loses at most `max_loss`.

    With `only_int8`, all of its members are int8 files, and ImportFault is raised where all of
    these lose more.
    """
    if only_int8:
        return _choose_int8(pool, labels, parts, reference, max_loss, max_stages, kind)
    members = [Member(name, one.logits[parts.choose], one.us_per_row) for name, one in pool.items()]
    twins = [frozenset({name, name + SUFFIX}) for name in pool if name + SUFFIX in pool]
    choice = select_cheapest(
        members,
        labels[parts.choose],
        reference=reference,
        max_loss=max_loss,
        min_saving=MIN_SAVING,
        folds=FOLDS,
        max_stages=max_stages,
        twins=twins,
        kind=kind,
    )
    return choice.chosen


def _choose_int8(
    pool: Mapping[str, Measured],
    labels: Array,
    parts: Parts,
    reference: str,
    max_loss: float,
    max_stages: int,
    kind: AnswerKind,
) -> Candidate:
    served = [name for name, one in pool.items() if one.stage.precision == INT8]
    members = [
        Member(name, pool[name].logits[parts.choose], pool[name].us_per_row)
        for name in dict.fromkeys((*served, reference))
    ]
    try:
        choice = select_cheapest(
            members,
            labels[parts.choose],
            reference=reference,
            max_loss=max_loss,
            folds=FOLDS,
            max_stages=max_stages,
            kind=kind,
            served=served,
        )
    except ValueError as error:
        raise ImportFault(
            f"--compress int8: {error}; give more rows, allow more with --max-loss, or use "
            "--compress auto"
        ) from error
    return choice.chosen


def find_other_files(
    pool: Mapping[str, Measured],
    chosen: Candidate,
    labels: Array,
    parts: Parts,
    kind: AnswerKind,
    max_loss: float,
) -> tuple[StageFile | None, ...]:
    """Return each member's other file, float or int8, which a server may run where it is faster.

    None where the other file is the faster one here in full batches, and where some mix of the
    files loses more than MAX_DROP, or `max_loss`, on the choosing rows.
    """
    others = [_find_other(pool, name) for name in chosen.members]
    mixes = product(
        *({name, other or name} for name, other in zip(chosen.members, others, strict=True))
    )
    grades = {
        mix: grade_choice(pool, replace(chosen, members=mix), labels, parts.choose, kind)
        for mix in mixes
    }
    if min(grades.values()) < grades[chosen.members] - min(MAX_DROP, max_loss):
        return (None,) * len(others)
    return tuple(None if other is None else pool[other].stage for other in others)


def _find_other(pool: Mapping[str, Measured], name: str) -> str | None:
    net = name.removesuffix(SUFFIX)
    twin = net + SUFFIX
    if net not in pool or twin not in pool:
        return None
    faster = twin if pool[twin].us_per_row <= MAX_RATIO * pool[net].us_per_row else net
    return (net if name == twin else twin) if name == faster else None


def judge(
    pool: Mapping[str, Measured],
    chosen: Candidate,
    labels: Array,
    parts: Parts,
    *,
    reference: str,
    max_loss: float,
    notes: Sequence[str],
    kind: AnswerKind = ONE_LABEL,
    energy: EnergySource,
) -> Verdict:
    """Try every model alone and the choice on the test rows, once."""
    truth = labels[parts.test]
    hits = {name: kind.grade_logits(one.logits[parts.test], truth) for name, one in pool.items()}
    rows = []
    for name, one in pool.items():
        mean, low, high = compare_hits(hits[name], hits[reference])
        rows.append(
            VerdictRow(
                name=name,
                precision=one.stage.precision,
                members=(name,),
                accuracy=float(hits[name].mean()),
                us_per_row=one.us_per_row,
                macs=one.stage.macs,
                size_bytes=len(one.stage.raw),
                difference=mean,
                low=low,
                high=high,
                chosen=chosen.members == (name,),
                mj_per_row=one.mj_per_row,
            )
        )
    if len(chosen.members) > 1:
        rows.append(_judge_cascade(pool, chosen, labels, parts.test, hits[reference], kind))
    measure = Measure.accuracy if kind is ONE_LABEL else Measure.row_f1
    return Verdict(
        tuple(rows),
        reference,
        max_loss,
        len(parts.choose),
        len(parts.test),
        write_sentence(rows, reference, max_loss, measure),
        tuple(notes),
        measure=measure,
        energy=energy.basis,
        has_meter=energy.read_j is not None,
    )


def _judge_cascade(
    pool: Mapping[str, Measured],
    chosen: Candidate,
    labels: Array,
    places: Places,
    reference_hits: Grades,
    kind: AnswerKind,
) -> VerdictRow:
    stages = [pool[name] for name in chosen.members]
    trace = _trace_choice(pool, chosen, labels, places, kind)
    hits, costs = simulate(trace, chosen.thresholds)
    reached = [1.0]
    going = np.ones(len(hits), dtype=np.bool_)
    for scores, threshold in zip(trace.scores, chosen.thresholds, strict=True):
        going &= scores < threshold
        reached.append(float(going.mean()))
    mean, low, high = compare_hits(hits, reference_hits)
    precisions = {one.stage.precision for one in stages}
    spent_mj = [one.mj_per_row for one in stages if one.mj_per_row is not None]
    return VerdictRow(
        name="cascade",
        precision=precisions.pop() if len(precisions) == 1 else "mixed",
        members=chosen.members,
        accuracy=float(hits.mean()),
        us_per_row=float(costs.mean()),
        macs=sum(share * one.stage.macs for share, one in zip(reached, stages, strict=True)),
        size_bytes=sum(len(one.stage.raw) for one in stages),
        difference=mean,
        low=low,
        high=high,
        chosen=True,
        reached=tuple(reached),
        mj_per_row=float(np.dot(reached, spent_mj)) if len(spent_mj) == len(stages) else None,
    )


def grade_choice(
    pool: Mapping[str, Measured],
    chosen: Candidate,
    labels: Array,
    places: Places,
    kind: AnswerKind,
) -> float:
    """Return the mean grade of the choice on some rows."""
    trace = _trace_choice(pool, chosen, labels, places, kind)
    return float(simulate(trace, chosen.thresholds)[0].mean())


def _trace_choice(
    pool: Mapping[str, Measured], chosen: Candidate, labels: Array, places: Places, kind: AnswerKind
) -> Trace:
    members = [
        Member(name, pool[name].logits[places], pool[name].us_per_row) for name in chosen.members
    ]
    return trace_members(
        members, chosen.temperatures, chosen.score, chosen.combine, labels[places], kind
    )
