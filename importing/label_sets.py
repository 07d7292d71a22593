"""Imports whose rows have several labels at once: labels are a table of 0 and 1, [N, K].

Candidates are compared by the mean F1 of a row. The share of labels that are right is told beside
it: it hides what is missed where most labels do not hold.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cascades.answer_kinds import several_labels
from core.classifiers.label_sets import grade_labels
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, shorten
from importing.onnx_files.outputs import OutputGuess, OutputKind
from importing.options import ImportOptions, Stage, find_kind
from importing.samples import Samples

GIVES_LABELS = frozenset({OutputKind.logits, OutputKind.sigmoid})
FEW_POINTS = 0.15  # of F1; an order of the labels that gains more is a fault
LABEL_SETS = several_labels()
LABEL_SHARE = replace(  # graded by the share of labels that are right
    LABEL_SETS, grade=lambda probabilities, labels: ((probabilities >= 0.5) == labels).mean(axis=1)
)


def give_labels(
    answers: Sequence[OutputGuess], stages: Sequence[Stage], options: ImportOptions
) -> bool:
    """Whether every stage's output can be a score for each of several labels."""
    return all(
        find_kind(stage, options, answer.kind) in GIVES_LABELS
        for answer, stage in zip(answers, stages, strict=True)
    )


def check_label_sets(samples: Samples, paths: Sequence[str], widths: Sequence[int]) -> None:
    """Compare a table of labels with the models, which give so many numbers a row each.

    Raises ImportFault.
    """
    place, columns = f"--data {samples.source}", samples.labels.shape[1]
    for path, width in zip(paths, widths, strict=True):
        if width != columns:
            raise ImportFault(f"{path}: gives {width} numbers a row, {place} has {columns} labels")
    if samples.names and len(samples.names) != columns:
        raise ImportFault(f"{place}: {len(samples.names)} names for {columns} labels")
    if (samples.labels == samples.labels[0]).all():
        raise ImportFault(f"{place}: all rows have the same labels")


def describe_label_sets(samples: Samples) -> list[str]:
    """Return notes on a table of labels that its owner may have meant otherwise."""
    notes = []
    counts = samples.labels.sum(axis=0)
    never = [samples.names[i] if samples.names else str(i) for i in np.flatnonzero(counts == 0)]
    if never:
        notes.append(f"labels that no row of the data has: {shorten(', '.join(never), 200)}")
    if (samples.labels.sum(axis=1) == 1).all():
        notes.append(
            "every row has exactly one label; if there can be no more, save the numbers of the "
            "labels, [N], for a classifier"
        )
    return notes


def check_label_answers(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], path: str
) -> None:
    """Recognise labels in another order, and a model that only guesses. Raises ImportFault."""
    holds = logits >= 0
    grades = grade_labels(holds, labels)
    best = _correlate(holds, labels).argmax(axis=1)  # the data's label that each answer mostly is
    if len(set(best.tolist())) == len(best) and (best != np.arange(len(best))).any():
        ordered = np.empty_like(holds)
        ordered[:, best] = holds
        permuted = float(grade_labels(ordered, labels).mean())
        if permuted - float(grades.mean()) > FEW_POINTS:
            first = int(np.flatnonzero(best != np.arange(len(best)))[0])
            raise ImportFault(
                f"{path}: the labels have another order than the model: its label {first} is "
                f"mostly the data's label {best[first]}; with that order the mean F1 of a row "
                f"would be {permuted:.1%} instead of {grades.mean():.1%}"
            )
    guess = _grade_best_guess(labels)
    lead = grades - guess
    if lead.mean() <= 2 * lead.std() / len(lead) ** 0.5:
        raise ImportFault(
            f"{path}: the mean F1 of a row is {grades.mean():.1%}, always naming the same labels "
            f"gives {guess.mean():.1%}; check its preprocessing, its output and the order of the "
            "labels"
        )


def _correlate(holds: Array, labels: Array) -> npt.NDArray[np.float64]:
    """Return the correlation of every answer with every label [K, K]; 0 for a constant one."""
    tables = []
    for table in (holds, labels):
        centred = table - table.mean(axis=0)
        spread = centred.std(axis=0)
        tables.append(np.divide(centred, spread, out=np.zeros(centred.shape), where=spread > 0))
    return np.asarray(tables[0].T @ tables[1] / len(labels))


def _grade_best_guess(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return the grades of the best answer that is the same for all rows."""
    order = np.argsort(-labels.mean(axis=0), kind="stable")
    best = np.zeros(len(labels))
    for count in range(len(order) + 1):
        holds = np.zeros(labels.shape, np.bool_)
        holds[:, order[:count]] = True
        grades = grade_labels(holds, labels)
        if count == 0 or grades.mean() > best.mean():
            best = grades
    return best
