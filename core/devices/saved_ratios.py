"""The file in which ratios of times stay between starts: `~/.cache/sparing/int8_speed.json`.

A damaged file, or a folder that cannot be written, only means that it is measured again.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.files import read_regular

FILE, LOCK = "int8_speed.json", "int8_speed.lock"
MAX_BYTES = 2**20
MAX_KEPT = 1000
MAX_WAIT_S = 5.0  # for another process that measures
_POLL_S = 0.02


def find_folder() -> Path | None:
    """Return the project's folder of caches; None where the user has no home directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "sparing"
    except RuntimeError:
        return None


def read_or_measure(key: str, measure: Callable[[], float], folder: Path | None) -> float:
    """Return what is saved under the key, else measure and save it.

    Processes measure one after the other, so that those of one server agree.
    """
    if folder is None:
        return measure()
    found = _read(folder).get(key)
    if found is not None:
        return found
    with _lock(folder) as is_locked:
        kept = _read(folder)
        found = kept.get(key)  # another process may have measured meanwhile
        if found is None:
            found = measure()
            if is_locked:
                _write(folder, {**kept, key: found})
        return found


def _read(folder: Path) -> dict[str, float]:
    try:
        saved = json.loads(read_regular(folder / FILE, MAX_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(saved, dict):
        return {}
    return {
        key: float(value)
        for key, value in saved.items()
        if isinstance(value, int | float) and math.isfinite(value) and value > 0
    }


def _write(folder: Path, ratios: Mapping[str, float]) -> None:
    newest = dict(list(ratios.items())[-MAX_KEPT:])
    partial = folder / f"{FILE}.{os.getpid()}"
    try:
        partial.write_text(json.dumps(newest, indent=1) + "\n")
        partial.replace(folder / FILE)
    except OSError:
        partial.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the file's lock, if the folder can be written and the lock is free in time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError:
        yield False
        return
    with file:
        yield _take(file.fileno())


def _take(descriptor: int) -> bool:
    ends_s = time.monotonic() + MAX_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > ends_s:
                return False
            time.sleep(_POLL_S)
        else:
            return True
