"""Format of a log record: one line, followed by a traceback if there is one.

Text from elsewhere is escaped and cut (`core.one_line`). Lines of a traceback are indented, so none
of them looks like a record.
"""

import logging
import traceback

from core.one_line import one_line

MESSAGE_LIMIT = 2000  # characters
_ERROR_LIMIT = 300  # characters of an exception's message
_FRAMES = 24  # the innermost frames of each exception
_CHAIN = 4  # exceptions in a chain of causes


class LineFormatter(logging.Formatter):
    """The standard formatter, with limits on length."""

    def __init__(self, worker: int = 0) -> None:
        """`worker` is the number of a worker process; 0: the only process."""
        who = f" worker {worker}" if worker else ""
        super().__init__(f"%(asctime)s %(levelname)s{who} %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.getMessage(), MESSAGE_LIMIT)
        record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else "\n".join([line, *_describe(error)])


def _describe(error: BaseException) -> list[str]:
    """Describe a chain of exceptions, the first cause first."""
    chain = [error]
    while len(chain) < _CHAIN and (before := _find_cause(chain[-1])) is not None:
        chain.append(before)
    return [line for one in reversed(chain) for line in _describe_one(one)]


def _find_cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _describe_one(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    lines = [f"  {one.filename}:{one.lineno} {one.name}: {one.line}" for one in frames]
    lines.append(f"  {describe_error(error)}")
    return [one_line(line, MESSAGE_LIMIT) for line in lines]


def describe_error(error: BaseException) -> str:
    """Return the exception's class and the start of its message, on one line."""
    name = type(error).__name__
    try:
        sentence = one_line(str(error), _ERROR_LIMIT)
    except Exception:  # an exception whose `str` fails must not lose the line
        return name
    return f"{name}: {sentence}" if sentence else name
