"""Files whose contents may change while the server runs: secrets and certificates.

A file is read at the start, when a fault is an error. From then on a thread looks once a second
whether it has changed. A new content is used at once. While a file cannot be read, or is wrong, the
last good content stays in use, and one line in the log says so.
"""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

LOOK_INTERVAL_S = 1.0
_MAX_BYTES = 2**20
_log = logging.getLogger("sparing.configuration")

Value = TypeVar("Value")
_Signature = tuple[tuple[int, int, int], ...]  # inode, time of change and size of each file


class WatchedFile(Generic[Value]):
    """What some files hold, such as a certificate and its key, which change together."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], Value]) -> None:
        """Read the files. Raises ValueError, with the sentence that `read` raises."""
        self._paths = paths
        self._read = read
        self._signature = self._sign()
        self._is_faulty = False
        self.value = read()

    def refresh(self) -> bool:
        """Read the files if they have changed; return whether `value` is new."""
        signature = self._sign()
        if signature == self._signature and not self._is_faulty:
            return False
        try:
            value = self._read()
        except ValueError as error:
            if not self._is_faulty:
                _log.warning("%s; what was read before stays in use", error)
            self._is_faulty = True
            return False
        self._signature, self._is_faulty = signature, False
        is_new, self.value = value != self.value, value
        return is_new

    def _sign(self) -> _Signature:
        signature = []
        for path in self._paths:
            try:
                found = path.stat()
            except OSError:
                signature.append((0, 0, 0))
            else:
                signature.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(signature)


class FileWatch:
    """All watched files of a process. `look` runs in a thread; what it finds is used on the event
    loop.
    """

    def __init__(self, *, warns: bool = True) -> None:
        """`warns`: of several processes with the same files, one warns of public secrets."""
        self._loop = asyncio.get_running_loop()
        self._warns = warns
        # Any: each file with a function that takes its value
        self._files: list[tuple[WatchedFile[Any], Callable[[Any], object]]] = []

    def add(self, file: WatchedFile[Value], use: Callable[[Value], object]) -> None:
        """Call `use` with every new value of the file."""
        self._files.append((file, use))

    def warn_if_public(self, setting: str, path: Path) -> None:
        """Log a warning if every user of the machine may read a file that holds a secret."""
        with contextlib.suppress(OSError):
            if self._warns and path.stat().st_mode & stat.S_IROTH:
                _log.warning("%s: every user of this machine may read %s", setting, path)

    def look(self) -> bool:
        """Look at every file once. Returns False, as no routes changed."""
        for file, use in self._files:
            if file.refresh():
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(use, file.value)
        return False

    def __bool__(self) -> bool:
        return bool(self._files)


def read_file(setting: str, path: Path) -> bytes:
    """Return what a file holds. Raises ValueError, with a sentence that names the setting and the
    file, if it cannot be read, is empty, or is no regular file.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"{setting}: {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError(f"{setting}: {path}: not a regular file")
        content = os.read(file, _MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{setting}: {path}: {error.strerror}") from error
    finally:
        os.close(file)
    if not content.strip():
        raise ValueError(f"{setting}: {path}: the file is empty")
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{setting}: {path}: larger than {_MAX_BYTES} bytes")
    return content


def read_secret(setting: str, path: Path) -> str:
    """Return a file's only line. Raises ValueError, which never holds a part of the file."""
    try:
        text = read_file(setting, path).decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{setting}: {path}: not UTF-8") from None
    if len(text.splitlines()) > 1:
        raise ValueError(f"{setting}: {path}: more than one line")
    return text
