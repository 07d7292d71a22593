"""A device with torch: tensors on the CPU or on a GPU. Imported only where a route asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load

from core.devices.clocks import CpuClock
from core.devices.interface import DeviceError, FilePair, Precision, WorkClock
from core.devices.onnx import STATE_LIMIT_BYTES
from core.errors import ModelDirectoryError
from core.files import read_regular
from core.messages import Array


class TorchDevice:
    """Tensors on one of torch's devices; texts, which torch has not, stay in numpy."""

    def __init__(
        self,
        state_limit_bytes: int = STATE_LIMIT_BYTES,
        *,
        name: str = "torch",
        backend: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,  # on the CPU; torch has one number for the whole process
        gpu: int = 0,  # its number
    ) -> None:
        """Raise DeviceError if torch cannot use this backend here."""
        self.name = name
        self.state_limit_bytes = state_limit_bytes
        self.place = torch.device(backend if backend == "cpu" else f"{backend}:{gpu}")
        try:
            torch.zeros(1, device=self.place)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            first = str(error).strip().partition("\n")[0]
            raise DeviceError(
                f"torch cannot use {self.place} here ({first}), available are "
                f"{', '.join(_list_available())}"
            ) from error
        if backend == "cpu":
            torch.set_num_threads(threads)

    def open(self, path: Path) -> dict[str, torch.Tensor]:
        """Read a `.safetensors` file. Raises ModelDirectoryError."""
        if path.suffix != ".safetensors":
            raise ModelDirectoryError(
                f"{path}: device {self.name} opens .safetensors files; "
                "settings assign the route to a device of its runtime (routes.devices)"
            )
        try:
            tensors = load(read_regular(path))
        except Exception as error:  # safetensors' own errors share no root but Exception
            raise ModelDirectoryError(f"{path}: torch cannot load it: {error}") from error
        return {name: tensor.to(self.place) for name, tensor in tensors.items()}

    def runs_int8(self, _pair: FilePair) -> bool:
        return False  # int8 files are ONNX files

    def with_precision(self, _precision: Precision) -> "TorchDevice":
        return self

    def make_clock(self) -> WorkClock:
        return CpuClock() if self.place.type == "cpu" else CudaClock(self.place)

    def collate(self, rows: Sequence[Array]) -> Array:
        if _is_text(rows[0]):
            return np.array(rows, dtype=np.object_)
        tensors = [self._take(row) for row in rows]
        if len({tensor.shape for tensor in tensors}) > 1:
            return tensors
        return torch.stack(tensors)

    def join(self, blocks: Sequence[Array]) -> Array:
        if any(isinstance(block, list) or _is_text(block) for block in blocks):
            return self.collate([row for block in blocks for row in block])
        tensors = [self._take(block) for block in blocks]
        if len({tensor.shape[1:] for tensor in tensors}) > 1:
            return [row for tensor in tensors for row in tensor]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def _take(self, array: Array) -> torch.Tensor:
        """Return a tensor on this device. It shares the memory of a numpy array on the CPU."""
        if isinstance(array, torch.Tensor):
            return array.to(self.place)
        array = np.asarray(array)
        if not array.flags.writeable:  # torch has no read-only tensors, and stages write nothing
            array = array.copy()
        return torch.from_numpy(array).to(self.place)


class CudaClock:
    """The GPU's own time, by events around each batch; a batch counts when it has ended."""

    def __init__(self, place: torch.device) -> None:
        self._place = place
        self._total_s = 0.0
        self._began: torch.cuda.Event | None = None  # made by the thread that records them
        self._ended: torch.cuda.Event | None = None

    def begin(self) -> None:
        if self._began is None:
            self._began = _make_event()
            self._ended = _make_event()
        self._began.record(torch.cuda.current_stream(self._place))

    def end(self) -> float:
        assert self._began is not None and self._ended is not None
        self._ended.record(torch.cuda.current_stream(self._place))
        self._ended.synchronize()
        spent_s = float(self._began.elapsed_time(self._ended)) / 1e3
        self._total_s += spent_s
        return spent_s

    def total_s(self) -> float:
        return self._total_s


def _make_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _is_text(array: Array) -> bool:
    return isinstance(array, str) or (isinstance(array, np.ndarray) and array.dtype == np.object_)


def _list_available() -> list[str]:
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus]
