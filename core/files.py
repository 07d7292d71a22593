"""Opens only regular files of a model directory, so that reading never blocks.

A FIFO blocks its reader until data is written, and a device may never end. Symbolic links are
followed; their target must be a regular file.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read. Raises OSError, also if the path is not a regular file."""
    _check(path.stat())  # before opening: to open a device may have effects
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check(os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, limit_bytes: int = -1) -> bytes:
    """Read the whole file, or at most `limit_bytes`. Raises OSError."""
    with open_regular(path) as file:
        return file.read(limit_bytes)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"is {_name(status.st_mode)}, not a regular file")


def _name(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
