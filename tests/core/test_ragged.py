"""Rows of different shapes are answered as each alone."""

from pathlib import Path

import numpy as np

from core.devices.onnx import OnnxDevice
from core.ragged import run_session, take_rows
from tests.fakes.own_models import make_text, save


def test_rows_of_different_lengths_are_answered_in_order_and_as_alone(tmp_path: Path) -> None:
    session = OnnxDevice().open(save(make_text(), tmp_path / "text.onnx"))
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 50, length) for length in (3, 5, 3, 1, 5, 4)]
    (found,) = run_session(session, ["logits"], {"input_ids": rows})
    alone = [session.run(["logits"], {"input_ids": row[None]})[0][0] for row in rows]
    np.testing.assert_array_equal(found, alone)


def test_rows_of_a_list_and_of_an_array_are_taken_alike() -> None:
    array = np.arange(12).reshape(4, 3)
    places = np.array([1, 3])
    np.testing.assert_array_equal(take_rows(array, places), take_rows(list(array), places))
