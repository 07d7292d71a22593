"""Ends the process in bounded time, even if its threads hang.

A native call, a mount that does not respond or a pool that is joined can keep a process from ending
forever. The guard then ends it with exit code 1 and one line in the log.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

EXIT_GRACE_S = 5.0  # for a process to end after its drain
_BACKSTOP_S = 1.0  # later the kernel ends a process that cannot even write its log

_log = logging.getLogger("sparing")


def end_process(code: int) -> None:
    """End at once: no thread is joined, and only the log is flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class ExitGuard:
    """Once armed, makes the process end within `limit_s` seconds, by itself or by force."""

    def __init__(self, end: Callable[[int], object] = end_process) -> None:
        self._end = end
        self._limit_s = 0.0

    def arm(self, limit_s: float) -> None:
        """Start the limit. Call it in the main thread."""
        self._limit_s = limit_s
        signal.setitimer(signal.ITIMER_REAL, limit_s + _BACKSTOP_S)  # its default ends the process
        threading.Thread(target=self._wait, name="exit-guard", daemon=True).start()

    def _wait(self) -> None:
        threading.Event().wait(self._limit_s)
        me = threading.current_thread()
        others = sorted(one.name for one in threading.enumerate() if one is not me)
        _log.error(
            "did not end within %g s of the stop; ended now, with these threads: %s",
            self._limit_s,
            ", ".join(others),
        )
        self._end(1)
