"""What the engine and pipelines need of a device.

A device is one runtime on one piece of hardware: it opens the stages' files, chooses between a
float file and its int8 twin, makes batches of its runtime's arrays, limits the bytes of rows'
states, and measures the time of its work. It runs one batch at a time, on a thread of its own.
`core.devices.onnx` and `core.devices.torch` have the two runtimes; the latter alone imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from core.messages import Array

Precision = Literal["auto", "float32", "int8"]  # of stages with two files; auto: the faster one


class DeviceError(ValueError):
    """The device cannot be used on this machine; the message gives the reason in one sentence."""


class WorkClock(Protocol):
    """Measures the device's work. `begin` and `end` are called by the thread that runs batches."""

    def begin(self) -> None:
        """A batch begins."""

    def end(self) -> float:
        """The batch has ended: return the seconds that it took of the device."""

    def total_s(self) -> float:
        """Return the seconds of all batches so far; callable by any thread, and never falls."""


@dataclass(frozen=True, slots=True)
class FilePair:
    """The two files of a stage, with their SHA-256, and its largest batch."""

    float32: Path
    int8: Path
    sha256: tuple[str, str]
    max_batch: int


class Device(Protocol):
    """Runs one batch at a time."""

    @property
    def name(self) -> str: ...
    @property
    def state_limit_bytes(self) -> int: ...
    def open(self, path: Path, /) -> Any:
        """Open a stage's file: an ONNX Runtime session of a `.onnx` file, torch's tensors by name
        of a `.safetensors` file. Raises ModelDirectoryError, also for a file of another runtime.
        """

    def runs_int8(self, pair: FilePair, /) -> bool:
        """Whether the int8 file of a stage runs here. Raises ModelDirectoryError."""

    def with_precision(self, precision: Precision, /) -> "Device":
        """Return the same device with another rule for that."""

    def make_clock(self) -> WorkClock:
        """Return a clock for the thread that will run the batches."""

    def collate(self, rows: Sequence[Array], /) -> Array:
        """Stack N rows [...] into [N, ...]; rows of different shapes stay a list."""

    def join(self, blocks: Sequence[Array], /) -> Array:
        """Concatenate blocks [n, ...], or lists of n rows, into [N, ...]; rows of different shapes
        become a list.
        """
