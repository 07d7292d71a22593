"""Looks for changed routes at intervals, on a thread of its own.

It is a daemon thread and not one of the event loop's pool: reading a mount that hangs may never
return, and the process must be able to end without it.
"""

import ctypes
import logging
import threading
from collections.abc import Callable

from core.errors import ModelDirectoryError

_log = logging.getLogger("sparing.routes")


class Watcher:
    """Calls `refresh`, which returns whether anything changed, until `stop`."""

    def __init__(self, refresh: Callable[[], bool], interval_s: float) -> None:
        self._refresh = refresh
        self._interval_s = interval_s
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="reload", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Begin no further look; does not wait for one that is under way."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                if self._refresh():
                    return_free_memory()
            except ModelDirectoryError as error:
                _log.error("route directories cannot be watched: %s", error)
            except Exception:  # a full disk or a missing mount must not end the watching
                _log.exception("looking for changed routes failed; trying again")


def return_free_memory() -> None:
    """Return memory that a replaced model held to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
