"""The ONNX Runtime device: what it opens, and what a batch of rows looks like to a stage."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from core.devices.clocks import ElapsedClock
from core.devices.interface import DeviceError
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from harness.tiny_routes import write_route


def test_rows_of_one_text_each_become_a_batch() -> None:
    words = np.array(["yes", "no"], dtype=np.object_)
    batch = OnnxDevice().collate([words[0], words[1]])
    assert batch.dtype == np.object_
    assert batch.tolist() == ["yes", "no"]


def test_rows_of_several_texts_become_a_batch() -> None:
    words = np.array([["yes"], ["no"]], dtype=np.object_)
    assert OnnxDevice().collate([words[0]]).tolist() == [["yes"]]
    assert OnnxDevice().collate([words[0], words[1]]).tolist() == [["yes"], ["no"]]


def test_a_session_runs_on_the_providers_of_the_device(tmp_path: Path) -> None:
    (path, *_) = sorted(write_route(tmp_path).glob("*.onnx"))
    device = OnnxDevice(providers=["CPUExecutionProvider"], threads=2)
    assert device.open(path).get_providers() == ["CPUExecutionProvider"]


def test_a_provider_that_is_not_there_is_named_with_those_that_are() -> None:
    available = ", ".join(onnxruntime.get_available_providers())
    with pytest.raises(DeviceError, match=f"'NoSuchProvider' here, available are {available}"):
        OnnxDevice(providers=["NoSuchProvider"])


def test_a_provider_that_does_not_start_is_not_replaced_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path, *_) = sorted(write_route(tmp_path).glob("*.onnx"))
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    device = OnnxDevice(name="gpu", providers=names[:1])

    class OnlyTheCpu:
        def __init__(self, *args: object, **fields: object) -> None:
            assert fields == {"providers": names[:1], "provider_options": [{"device_id": 0}]}

        def get_providers(self) -> list[str]:
            return names[1:]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnlyTheCpu)
    with pytest.raises(ModelDirectoryError, match="device gpu: ONNX Runtime could not start CUDA"):
        device.open(path)


def test_a_file_of_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=r"device cpu opens \.onnx files"):
        OnnxDevice().open(tmp_path / "stage.safetensors")


def test_a_gpu_is_measured_by_elapsed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert isinstance(OnnxDevice(providers=["CUDAExecutionProvider"]).make_clock(), ElapsedClock)
