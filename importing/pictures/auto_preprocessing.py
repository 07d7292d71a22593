"""Finds a picture model's preprocessing: tries the usual ones on the rows that choose.

The measure is the log-likelihood of the labels at the best temperature, which tells more of a
preprocessing than the accuracy. Where the best two lie within noise and still answer differently,
it stops: only the owner knows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.classifiers.scores import fit_temperature, log_softmax
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array
from importing.pictures.picture_nodes import Canvas, PictureInput
from importing.pictures.preprocessing import Preprocessing

# Rounds: so many rows each, then so many of the best go on.
NORMAL_ROUNDS = ((48, 6), (128, 3))  # scales, means and orders of colors
SHAPE_ROUNDS = ((128, 2),)  # ways to the model's size
LAST_ROUND = ((256, 2),)  # the best of both
LAST_ROWS = 1_000
NOISE = 2.0  # standard errors between the best two
ALIKE = 0.02  # of the rows that two preprocessings may answer differently and still be one
CROP_FRACTION = 0.875

# Steps and the channel's numbers; every colour one is tried in both orders.
_COLOR = (
    Preprocessing(),
    Preprocessing(mean=(0.5,), std=(0.5,)),
    Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
    Preprocessing(scale=1.0),
    Preprocessing(scale=1.0, mean=(127.0,), std=(128.0,)),
    Preprocessing(scale=1.0, mean=(103.939, 116.779, 123.68), color="BGR"),
)
_GREY = (
    Preprocessing(),
    Preprocessing(mean=(0.5,), std=(0.5,)),
    Preprocessing(mean=(0.1307,), std=(0.3081,)),
    Preprocessing(mean=(0.286,), std=(0.353,)),
    Preprocessing(scale=1.0),
)

Logits = npt.NDArray[np.float32]
# Logits [stop - start, K] of these rows: answer(steps, start, stop).
Answer = Callable[[Preprocessing, int, int], Logits]


@dataclass(frozen=True, slots=True)
class Finding:
    """The preprocessing that was found, and how sure that is."""

    steps: Preprocessing
    accuracy: float
    runner_up: Preprocessing
    runner_up_accuracy: float
    lead: float  # of the log-likelihood over the runner-up, in standard errors

    def describe(self) -> str:
        """Return one clause for the report."""
        return (
            f"{self.steps.describe()} ({self.accuracy:.1%} correct; next "
            f"{self.runner_up.describe()}, {self.runner_up_accuracy:.1%})"
        )


def find_preprocessing(
    answer: Answer, labels: Array, canvas: Canvas, taken: PictureInput, place: str
) -> Finding:
    """Try the usual ones. `labels` [N] are those of the rows that `answer` runs.

    Raises ImportFault if none is better than guessing, or the best two cannot be told apart.
    """
    trials = _Trials(answer, labels)
    normals = trials.sift(list(_list_normals(taken.channels)), NORMAL_ROUNDS)
    shapes = list(_list_geometries(canvas, taken))
    tried = [_reshape(normals[0], shape) for shape in shapes]
    if len(shapes) > 1:
        tried = trials.sift(tried, SHAPE_ROUNDS)
    others = [_reshape(steps, tried[0]) for steps in normals[1:]]
    best = trials.sift([*tried, *others], LAST_ROUND)
    return _decide(best, trials, place)


class _Trials:
    """The answers so far; no row runs twice with the same preprocessing."""

    def __init__(self, answer: Answer, labels: Array) -> None:
        self.labels = labels
        self._answer = answer
        self._logits: dict[Preprocessing, Logits] = {}

    def run(self, steps: Preprocessing, rows: int) -> Logits:
        """Return the logits of the first rows."""
        rows = min(rows, len(self.labels))
        known = self._logits.get(steps)
        done = 0 if known is None else len(known)
        if done < rows:
            new = self._answer(steps, done, rows)
            self._logits[steps] = new if known is None else np.concatenate([known, new])
        return self._logits[steps][:rows]

    def judge(
        self, steps: Preprocessing, rows: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
        """Return the log-likelihood of every row's label, and every row's answer."""
        logits = self.run(steps, rows)
        labels = self.labels[: len(logits)]
        temperature = fit_temperature(logits, labels)
        chosen = log_softmax(logits, temperature)[np.arange(len(labels)), labels]
        return np.asarray(chosen), logits.argmax(axis=1)

    def sift(
        self, tried: Sequence[Preprocessing], rounds: Sequence[tuple[int, int]]
    ) -> list[Preprocessing]:
        """Return the best, the best one first."""
        left = list(tried)
        for rows, kept in rounds:
            likelihoods = {steps: -float(self.judge(steps, rows)[0].mean()) for steps in left}
            left = sorted(left, key=likelihoods.__getitem__)[:kept]
        return left


def _reshape(steps: Preprocessing, shape: Preprocessing) -> Preprocessing:
    return replace(steps, resize=shape.resize, filter=shape.filter, crop=shape.crop)


def _list_normals(channels: int) -> Iterator[Preprocessing]:
    for steps in _COLOR if channels == 3 else _GREY:
        yield steps
        if channels == 3:
            other: Preprocessing = replace(steps, color="BGR" if steps.color == "RGB" else "RGB")
            yield other


def _list_geometries(canvas: Canvas, taken: PictureInput) -> Iterator[Preprocessing]:
    """List ways from the canvas to the model's size; one where nothing has to change."""
    size = taken.size
    if size is None or size == (canvas.height, canvas.width):
        yield Preprocessing()
        return
    for kind in ("bilinear", "bicubic"):
        yield Preprocessing(resize=size, filter=kind)
        larger = (round(size[0] / CROP_FRACTION), round(size[1] / CROP_FRACTION))
        yield Preprocessing(resize=larger, filter=kind, crop=size)


def _decide(best: Sequence[Preprocessing], trials: _Trials, place: str) -> Finding:
    rows = min(LAST_ROWS, len(trials.labels))
    labels = trials.labels[:rows]
    judged = [trials.judge(steps, rows) for steps in best]
    order = sorted(range(len(best)), key=lambda i: -float(judged[i][0].mean()))
    first, second = order[0], order[1]
    difference = judged[first][0] - judged[second][0]
    spread = float(difference.std()) / len(difference) ** 0.5
    lead = float(difference.mean()) / spread if spread else 0.0
    hits = [float((answers == labels).mean()) for _, answers in judged]
    finding = Finding(best[first], hits[first], best[second], hits[second], lead)
    guess = float(np.bincount(labels).max() / len(labels))
    if hits[first] <= guess + 2 * (guess * (1 - guess) / rows) ** 0.5:
        raise ImportFault(
            f"{place}: no usual preprocessing does better than guessing ({hits[first]:.1%} with "
            f"{best[first].describe()}); give --preprocess, and check that the labels have the "
            "model's order"
        )
    different = float((judged[first][1] != judged[second][1]).mean())
    if lead < NOISE and different > ALIKE:
        raise ImportFault(
            f"{place}: two preprocessings cannot be told apart on {rows} rows: "
            f"{finding.describe()}; give the right one with --preprocess"
        )
    return finding
