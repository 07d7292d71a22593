"""Devices: what a batch of rows looks like to a stage."""

import numpy as np

from core.devices.onnx import OnnxDevice


def test_rows_of_one_text_each_become_a_batch() -> None:
    words = np.array(["yes", "no"], dtype=np.object_)
    batch = OnnxDevice().collate([words[0], words[1]])
    assert batch.dtype == np.object_
    assert batch.tolist() == ["yes", "no"]


def test_rows_of_several_texts_become_a_batch() -> None:
    words = np.array([["yes"], ["no"]], dtype=np.object_)
    assert OnnxDevice().collate([words[0]]).tolist() == [["yes"]]
    assert OnnxDevice().collate([words[0], words[1]]).tolist() == [["yes"], ["no"]]
