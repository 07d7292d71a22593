"""The torch device: what it opens, and what a batch of rows looks like to a stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.devices.clocks import CpuClock
from core.devices.interface import DeviceError
from core.devices.torch import CudaClock, TorchDevice
from core.errors import ModelDirectoryError

DEVICE = TorchDevice()


def test_blocks_of_numpy_arrays_and_tensors_become_one_tensor() -> None:
    blocks = [np.ones((2, 3), np.float32), torch.zeros(1, 3)]
    batch = DEVICE.join(blocks)
    assert isinstance(batch, torch.Tensor)
    assert batch.tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3]
    assert DEVICE.join([batch]) is batch


def test_rows_become_a_tensor_and_stay_a_list_where_their_shapes_differ() -> None:
    assert DEVICE.collate([np.zeros(2), torch.zeros(2)]).shape == (2, 2)
    ragged = DEVICE.collate([np.zeros(2), np.zeros(3)])
    assert [tuple(row.shape) for row in ragged] == [(2,), (3,)]
    ragged = DEVICE.join([np.zeros((2, 1)), [np.zeros(3)]])
    assert [tuple(row.shape) for row in ragged] == [(1,), (1,), (3,)]
    ragged = DEVICE.join([np.zeros((1, 2)), np.zeros((1, 3))])
    assert [tuple(row.shape) for row in ragged] == [(2,), (3,)]


def test_an_array_that_nothing_may_write_is_copied() -> None:
    array = np.zeros((1, 2))
    array.setflags(write=False)
    DEVICE.join([array]).fill_(1)
    assert not array.any()


def test_texts_stay_in_numpy() -> None:
    words = np.array(["yes", "no"], dtype=np.object_)
    assert DEVICE.join([words]).tolist() == ["yes", "no"]
    assert DEVICE.collate([words[1], words[0]]).tolist() == ["no", "yes"]


def test_a_file_gives_its_tensors_by_name(tmp_path: Path) -> None:
    save_file({"weight": torch.arange(3.0)}, tmp_path / "stage.safetensors")
    tensors = DEVICE.open(tmp_path / "stage.safetensors")
    assert {name: one.tolist() for name, one in tensors.items()} == {"weight": [0.0, 1.0, 2.0]}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("stage.onnx", r"device torch opens \.safetensors files"),
        ("absent.safetensors", "torch cannot load it"),
        ("damaged.safetensors", "torch cannot load it"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str, fault: str) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"\x00" * 9)
    with pytest.raises(ModelDirectoryError, match=rf"{name}: {fault}"):
        DEVICE.open(tmp_path / name)


def test_a_backend_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match=r"torch cannot use cuda:63 here .*available are cpu"):
        TorchDevice(backend="cuda", gpu=63)


def test_the_cpu_is_measured_by_the_threads_time() -> None:
    assert isinstance(DEVICE.make_clock(), CpuClock)


def test_a_gpu_is_measured_by_its_events_once_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, _stream: object) -> None:
            told.append("record")

        def synchronize(self) -> None:
            told.append("synchronize")

        def elapsed_time(self, _ended: object) -> float:
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _place: None)
    clock = CudaClock(torch.device("cuda:0"))
    for turn in range(1, 3):
        clock.begin()
        assert clock.end() == 0.25
        assert clock.total_s() == 0.25 * turn
    assert told == ["record", "record", "synchronize"] * 2
