"""Devices, on which stages run. A device collates rows of its runtime's arrays into batches.

So far there is only the CPU with ONNX Runtime. Lanes decide which stage runs next.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from core.errors import ModelDirectoryError
from core.files import read_regular
from core.messages import Array


class Device(Protocol):
    """Runs one batch at a time."""

    @property
    def name(self) -> str: ...
    @property
    def state_limit_bytes(self) -> int: ...
    def collate(self, rows: Sequence[Array], /) -> Array:
        """Stack N rows [...] into [N, ...]; rows of different shapes stay a list."""

    def join(self, blocks: Sequence[Array], /) -> Array:
        """Concatenate blocks [n, ...], or lists of n rows, into [N, ...]; rows of different shapes
        become a list.
        """


class CpuDevice:
    """Numpy arrays and single-threaded ONNX sessions; more processes use more cores."""

    def __init__(self, state_limit_bytes: int = 256 * 2**20) -> None:
        self.name = "cpu"
        self.state_limit_bytes = state_limit_bytes

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


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    """Open a single-threaded CPU session. Raises ModelDirectoryError if the runtime cannot."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # failures are raised, so the log need not repeat them
    try:
        return onnxruntime.InferenceSession(
            read_regular(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own exception classes share no root but Exception
        raise ModelDirectoryError(f"{path}: ONNX Runtime cannot load it: {error}") from error
