"""Devices: what a batch of rows looks like to a stage."""

import numpy as np

from core.devices import CpuDevice


def test_rows_of_one_text_each_become_a_batch() -> None:
    words = np.array(["yes", "no"], dtype=np.object_)
    batch = CpuDevice().collate([words[0], words[1]])
    assert batch.dtype == np.object_
    assert batch.tolist() == ["yes", "no"]


def test_rows_of_several_texts_become_a_batch() -> None:
    words = np.array([["yes"], ["no"]], dtype=np.object_)
    assert CpuDevice().collate([words[0]]).tolist() == [["yes"]]
    assert CpuDevice().collate([words[0], words[1]]).tolist() == [["yes"], ["no"]]
