"""A log that callers cannot fill: a few lines per minute from each call site in the code.

A request that causes a log line can cause a thousand per second. So each call site writes a few
lines per interval; the others are counted, and one line reports their number. A call site is a line
of source code, here or in a library, together with the record's `about`, such as a stage's name, if
it has one. Records below INFO, and those with `extra=UNLIMITED`, are always written.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from monitoring.log_lines import JsonFormatter, LineFormatter, LogFormat

LINES = 5
INTERVAL_S = 60.0
UNLIMITED: Mapping[str, object] = {"limited": False}  # for records that an operator causes
_MAX_CALL_SITES = 1024  # further call sites share one count
_TEMPLATE_LIMIT = 120  # characters

_log = logging.getLogger("sparing")

CallSite = tuple[object, ...]


@dataclass(slots=True)
class _Count:
    since: float
    record: logging.LogRecord  # the first
    written: int = 0
    suppressed: int = 0


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream, stderr by default."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        lines: int = LINES,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream or sys.stderr)
        self._lines = lines
        self._interval_s = interval_s
        self._clock = clock
        self._counts: dict[CallSite, _Count] = {}
        self._ends_at = 0.0  # the end of the counted interval that ends first

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if self._counts and now >= self._ends_at:
            self._end_intervals(now)
        if record.levelno < logging.INFO or not getattr(record, "limited", True):
            super().emit(record)
            return
        count = self._find(record, now)
        if count.written < self._lines:
            count.written += 1
            super().emit(record)
        else:
            count.suppressed += 1

    def close(self) -> None:
        """Report the suppressed lines that were not reported yet."""
        self._end_intervals(float("inf"))
        super().close()

    def _find(self, record: logging.LogRecord, now: float) -> _Count:
        place: CallSite = (
            record.name,
            record.pathname,
            record.lineno,
            getattr(record, "about", ""),
        )
        count = self._counts.get(place)
        if count is None:
            if len(self._counts) >= _MAX_CALL_SITES:
                place = ()
            if not self._counts:
                self._ends_at = now + self._interval_s
            count = self._counts.setdefault(place, _Count(now, record))
        return count

    def _end_intervals(self, now: float) -> None:
        """Remove counts whose interval is over, and report those that suppressed lines."""
        over = [place for place, one in self._counts.items() if now - one.since >= self._interval_s]
        for place in over:
            count = self._counts.pop(place)
            if count.suppressed:
                super().emit(self._summarise(count))
        self._ends_at = min(
            (one.since + self._interval_s for one in self._counts.values()), default=now
        )

    def _summarise(self, count: _Count) -> logging.LogRecord:
        first = count.record
        message = "%d more lines like this one were suppressed within %g s: %s"
        template = str(first.msg)[:_TEMPLATE_LIMIT]
        about = getattr(first, "about", "")
        return logging.LogRecord(
            first.name,
            first.levelno,
            first.pathname,
            first.lineno,
            message,
            (count.suppressed, self._interval_s, f"{template} ({about})" if about else template),
            None,
        )


def configure_logging(level: int | str, worker: int = 0, log_format: LogFormat = "text") -> None:
    """Configure the root logger of a server process, unless it has handlers already. As JSON,
    exceptions that end a thread or the process are records too.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = LimitedHandler()
    handler.setFormatter(JsonFormatter(worker) if log_format == "json" else LineFormatter(worker))
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    if log_format == "json":
        sys.excepthook = _log_end_of_process
        threading.excepthook = _log_end_of_thread


def _log_end_of_process(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    _log.critical("the process ends", exc_info=error, extra=UNLIMITED)


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = "" if ended.thread is None else ended.thread.name
    _log.error("the thread %s ends", name, exc_info=ended.exc_value)
