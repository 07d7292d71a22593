"""The end of a process in bounded time, whatever its threads do.

A native call that hangs, a mount that does not answer, a pool that is joined: each could keep a
process for ever that was told to end. The guard ends it with exit code 1 and one line in the log.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

EXIT_GRACE_S = 5.0  # for a process to end after its drain
_BACKSTOP_S = 1.0  # after which the kernel ends a process that cannot even write its log

_log = logging.getLogger("sparing")


def end_process(code: int) -> None:
    """At once: no thread is joined and nothing is cleaned up but the log."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class ExitGuard:
    """Once armed, the process ends within `limit_s`, by itself or by the guard."""

    def __init__(self, end: Callable[[int], object] = end_process) -> None:
        self._end = end
        self._limit_s = 0.0

    def arm(self, limit_s: float) -> None:
        """To be called in the main thread."""
        self._limit_s = limit_s
        signal.setitimer(signal.ITIMER_REAL, limit_s + _BACKSTOP_S)  # its default is the end
        threading.Thread(target=self._wait, name="exit-guard", daemon=True).start()

    def _wait(self) -> None:
        threading.Event().wait(self._limit_s)
        me = threading.current_thread()
        others = sorted(one.name for one in threading.enumerate() if one is not me)
        _log.error(
            "did not end within %g s after being told to; ended now, with these threads: %s",
            self._limit_s,
            ", ".join(others),
        )
        self._end(1)
