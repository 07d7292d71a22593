"""A device with ONNX Runtime: numpy arrays, on the CPU or through other execution providers."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import onnxruntime

from core.devices.clocks import CpuClock, ElapsedClock
from core.devices.int8_speed import MAX_RATIO, find_ratio
from core.devices.interface import DeviceError, FilePair, Precision, WorkClock
from core.errors import ModelDirectoryError
from core.files import read_regular
from core.messages import Array

CPU = "CPUExecutionProvider"
STATE_LIMIT_BYTES = 256 * 2**20
_NUMBERED = {  # by device number: providers of machines with several GPUs
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
    "ROCMExecutionProvider",
    "MIGraphXExecutionProvider",
}


class OnnxDevice:
    """Numpy arrays and ONNX sessions; by default on the CPU, with one thread."""

    def __init__(
        self,
        state_limit_bytes: int = STATE_LIMIT_BYTES,
        *,
        name: str = "cpu",
        providers: Sequence[str] = (),  # in order of preference; none: the CPU
        threads: int = 1,  # of one session, on the CPU
        gpu: int = 0,  # its number, for providers that use one
        precision: Precision = "auto",
    ) -> None:
        """Raise DeviceError if ONNX Runtime has no such provider here."""
        self.name = name
        self.state_limit_bytes = state_limit_bytes
        self._threads = threads
        self._providers = list(providers) or [CPU]
        self._precision = precision
        self._ratios: dict[FilePair, float] = {}
        available = onnxruntime.get_available_providers()
        if missing := [one for one in self._providers if one not in available]:
            raise DeviceError(
                f"ONNX Runtime has no execution provider {missing[0]!r} here, "
                f"available are {', '.join(available)}"
            )
        self._options = [{"device_id": gpu} if one in _NUMBERED else {} for one in self._providers]

    def open(self, path: Path) -> onnxruntime.InferenceSession:
        """Open a session. Raises ModelDirectoryError if the runtime cannot."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # failures are raised, so the log need not repeat them
        if path.suffix != ".onnx":
            raise ModelDirectoryError(
                f"{path}: device {self.name} opens .onnx files; "
                "settings assign the route to a device of its runtime (routes.devices)"
            )
        try:
            session = onnxruntime.InferenceSession(
                read_regular(path),
                options,
                providers=self._providers,
                provider_options=self._options,
            )
        except (
            Exception
        ) as error:  # the runtime's own exception classes share no root but Exception
            raise ModelDirectoryError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        if self._providers[0] not in (found := session.get_providers()):  # it falls back silently
            raise ModelDirectoryError(
                f"{path}: device {self.name}: ONNX Runtime could not start {self._providers[0]}, "
                f"only {', '.join(found)}"
            )
        return session

    def runs_int8(self, pair: FilePair) -> bool:
        if self._precision != "auto":
            return self._precision == "int8"
        if pair not in self._ratios:
            self._ratios[pair] = find_ratio(pair, self.open, self._make_timer(), self._describe())
        return self._ratios[pair] <= MAX_RATIO

    def with_precision(self, precision: Precision) -> "OnnxDevice":
        other = copy(self)
        other._precision = precision  # it shares what was measured
        return other

    def make_clock(self) -> WorkClock:
        return CpuClock() if self._providers[0] == CPU else ElapsedClock()

    def _make_timer(self) -> WorkClock:
        """Return a clock that counts all threads: CPU time of one is no measure for several."""
        return self.make_clock() if self._threads == 1 else ElapsedClock()

    def _describe(self) -> str:
        """Return what the speed of a file depends on, beside the processor."""
        return f"{self._providers} {self._options} {self._threads} {onnxruntime.__version__}"

    def collate(self, rows: Sequence[Array]) -> Array:
        first = rows[0]
        if isinstance(first, str):  # a BYTES input with one element per row
            return np.array(rows, dtype=np.object_)
        if len(rows) == 1:
            return first[None]
        shape = first.shape
        for row in rows:
            if row.shape != shape:
                return list(rows)
        return np.concatenate([row[None] for row in rows])

    def join(self, blocks: Sequence[Array]) -> Array:
        first = blocks[0]
        if isinstance(first, np.ndarray):
            if len(blocks) == 1:
                return first
            shape = first.shape[1:]
            if all(isinstance(one, np.ndarray) and one.shape[1:] == shape for one in blocks):
                return np.concatenate(blocks)
        return self.collate([row for block in blocks for row in block])
