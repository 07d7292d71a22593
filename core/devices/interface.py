"""What the engine and pipelines need of a device.

A device is one runtime on one piece of hardware: it opens the stages' files, makes batches of its
runtime's arrays, limits the bytes of rows' states, and measures the time of its work. It runs one
batch at a time, on a thread of its own. `core.devices.onnx` and `core.devices.torch` have the two
runtimes; the latter alone imports torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from core.messages import Array


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

    def make_clock(self) -> WorkClock:
        """Return a clock for the thread that will run the batches."""

    def collate(self, rows: Sequence[Array], /) -> Array:
        """Stack N rows [...] into [N, ...]; rows of different shapes stay a list."""

    def join(self, blocks: Sequence[Array], /) -> Array:
        """Concatenate blocks [n, ...], or lists of n rows, into [N, ...]; rows of different shapes
        become a list.
        """
