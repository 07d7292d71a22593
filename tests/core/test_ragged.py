"""Rows of different shapes are answered as each alone."""

from pathlib import Path

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.ragged import run_session, take_rows
from tests.fakes.own_models import make_finder, make_tagger, make_text, save


def test_rows_of_different_lengths_are_answered_in_order_and_as_alone(tmp_path: Path) -> None:
    session = OnnxDevice().open(save(make_text(), tmp_path / "text.onnx"))
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 50, length) for length in (3, 5, 3, 1, 5, 4)]
    (found,) = run_session(session, ["logits"], {"input_ids": rows})
    alone = [session.run(["logits"], {"input_ids": row[None]})[0][0] for row in rows]
    np.testing.assert_array_equal(found, alone)


def test_outputs_as_long_as_their_rows_are_a_list_of_the_answers_of_each_alone(
    tmp_path: Path,
) -> None:
    session = OnnxDevice().open(save(make_tagger(), tmp_path / "tags.onnx"))
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 50, length) for length in (3, 5, 3, 1, 5, 4)]
    (found,) = run_session(session, ["tags"], {"input_ids": rows})
    assert isinstance(found, list)
    for row, answer in zip(rows, found, strict=True):
        alone = session.run(["tags"], {"input_ids": row[None]})[0][0]
        np.testing.assert_array_equal(answer, alone)


def test_an_output_without_a_row_for_each_row_is_a_fault(tmp_path: Path) -> None:
    session = OnnxDevice().open(save(make_finder(rows=False), tmp_path / "finder.onnx"))
    with pytest.raises(ValueError, match=r"output found is \[16\] for 2 rows"):
        run_session(session, ["found"], {"features": np.ones((2, 8), np.float32)})


def test_rows_of_a_list_and_of_an_array_are_taken_alike() -> None:
    array = np.arange(12).reshape(4, 3)
    places = np.array([1, 3])
    np.testing.assert_array_equal(take_rows(array, places), take_rows(list(array), places))
