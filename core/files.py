"""Files of a model directory: regular ones only, opened without ever waiting for a writer.

A FIFO would hold its reader until somebody writes, a device may never end. Links are followed; what
counts is where they lead.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open to read. Raises OSError, also for what is there and is no regular file."""
    _check(path.stat())  # before it is opened: opening a device may act on it
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check(os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, limit_bytes: int = -1) -> bytes:
    """All of it, or so much. Raises OSError."""
    with open_regular(path) as file:
        return file.read(limit_bytes)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"is {_name(status.st_mode)}, a regular file is needed")


def _name(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
