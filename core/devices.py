"""Devices: where stages run. A device collates rows of its runtime's arrays; lanes own the turn-
taking.

Only the CPU with ONNX Runtime for now; a torch device adds its own class here.
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
    """A place with one turn at a time."""

    @property
    def name(self) -> str: ...
    @property
    def state_limit_bytes(self) -> int: ...
    def collate(self, rows: Sequence[Array], /) -> Array: ...


class CpuDevice:
    """Numpy arrays and single-threaded ONNX sessions; scale by processes."""

    def __init__(self, state_limit_bytes: int = 256 * 2**20) -> None:
        self.name = "cpu"
        self.state_limit_bytes = state_limit_bytes

    def collate(self, rows: Sequence[Array]) -> Array:
        """[...] times N -> [N, ...]; rows of different shapes stay a list."""
        first = rows[0]
        if isinstance(first, str):  # a BYTES input of one element a row
            return np.array(rows, dtype=np.object_)
        if len(rows) == 1:
            return first[None]
        shape = first.shape
        for row in rows:
            if row.shape != shape:
                return list(rows)
        return np.concatenate([row[None] for row in rows])


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    """A single-threaded CPU session; ModelDirectoryError when the runtime refuses the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised; it must not fill the log as well
    try:
        return onnxruntime.InferenceSession(
            read_regular(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own exception classes share no root but Exception
        raise ModelDirectoryError(f"{path}: ONNX Runtime refuses it: {error}") from error
