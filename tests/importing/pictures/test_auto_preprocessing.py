"""The search for a model's preprocessing."""

import numpy as np
import pytest

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Tensor
from importing.pictures.auto_preprocessing import Logits, find_preprocessing
from importing.pictures.picture_nodes import Canvas, PictureInput
from importing.pictures.preprocessing import Preprocessing

LABELS = np.arange(1_200) % 5
RIGHT = Preprocessing(
    resize=(260, 260), filter="bicubic", scale=1.0, mean=(127.0,), std=(128.0,), color="BGR"
)


def _take(size: int) -> PictureInput:
    return PictureInput(Tensor("x", "FP32", (-1, 3, size, size)), "NCHW", 3, size, size)


class _Net:
    """Answers the better, the more of the steps are right; counts the rows it runs."""

    def __init__(self, right: Preprocessing) -> None:
        self.right = right
        self.ran: dict[tuple[Preprocessing, int], int] = {}

    def __call__(self, steps: Preprocessing, start: int, stop: int) -> Logits:
        for row in range(start, stop):
            self.ran[steps, row] = self.ran.get((steps, row), 0) + 1
        facts = ("resize", "filter", "crop", "scale", "mean", "std", "color")
        alike = sum(getattr(steps, fact) == getattr(self.right, fact) for fact in facts)
        logits = np.random.default_rng(0).normal(size=(len(LABELS), 5)).astype(np.float32)
        logits[np.arange(len(LABELS)), LABELS] += 0.5 * alike
        return logits[start:stop]


def _find(net: _Net, size: int = 260) -> Preprocessing:
    taken = _take(size)
    return find_preprocessing(net, LABELS, Canvas(224, 224, 3), taken, "net.onnx").steps


def test_scale_color_and_geometry_are_found_and_no_row_runs_twice() -> None:
    net = _Net(RIGHT)
    assert _find(net) == RIGHT
    assert set(net.ran.values()) == {1}
    assert len(net.ran) < 14 * 48 + 6 * 128 + 4 * 256 + 2 * 1_000


def test_a_picture_of_the_models_size_keeps_it() -> None:
    right = Preprocessing(mean=(0.5,), std=(0.5,))
    assert _find(_Net(right), size=224) == right


def test_two_that_are_alike_but_answer_differently_stop_the_search() -> None:
    rng = np.random.default_rng(1)

    def guess(steps: Preprocessing, start: int, stop: int) -> Logits:
        logits = rng.normal(size=(stop - start, 5)).astype(np.float32)
        logits[np.arange(stop - start), LABELS[start:stop]] += 1.5
        return logits

    taken = _take(224)
    with pytest.raises(ImportFault, match="cannot be told apart"):
        find_preprocessing(guess, LABELS, Canvas(224, 224, 3), taken, "net.onnx")
