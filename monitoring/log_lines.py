"""Formats of a log record: text for people, or JSON for programs.

As text, a record is one line, followed by a traceback if there is one. Text from elsewhere is
escaped and cut (`core.one_line`). Lines of a traceback are indented, so none of them looks like a
record. As JSON, a record is one line with everything in it. `extra={"fields": {...}}` gives a
record fields: they follow a line of text as `name=value`, and are members of the JSON object.
"""

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from core.one_line import one_line

MESSAGE_LIMIT = 2000  # characters
_ERROR_LIMIT = 300  # characters of an exception's message
_FRAMES = 24  # the innermost frames of each exception
_CHAIN = 4  # exceptions in a chain of causes


LogFormat = Literal["text", "json"]


class LineFormatter(logging.Formatter):
    """The standard formatter, with limits on length."""

    def __init__(self, worker: int = 0) -> None:
        """`worker` is the number of a worker process; 0: the only process."""
        who = f" worker {worker}" if worker else ""
        super().__init__(f"%(asctime)s %(levelname)s{who} %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.getMessage(), MESSAGE_LIMIT)
        record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record) + _write_fields(find_fields(record))
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else "\n".join([line, *_describe(error)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the record's fields."""

    def __init__(self, worker: int = 0) -> None:
        """`worker` is the number of a worker process; 0: the only process."""
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": one_line(record.getMessage(), MESSAGE_LIMIT),
            **self._worker,
        }
        fields = {name: _cut(value) for name, value in find_fields(record).items()}
        line = {**fields, **line}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = "\n".join(_describe(error))
        return json.dumps(line, default=str)


def find_fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the fields that a record was given."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _cut(value: object) -> object:
    """Return a field's value, of a long text only the beginning: a path may have 64 KiB, and the
    name of a route over gRPC as much as a message.
    """
    is_long = isinstance(value, str) and len(value) > MESSAGE_LIMIT
    return one_line(str(value), MESSAGE_LIMIT) if is_long else value


def _write_fields(fields: Mapping[str, object]) -> str:
    return "".join([f" {name}={_write_value(value)}" for name, value in fields.items()])


def _write_value(value: object) -> str:
    text = one_line(str(value), MESSAGE_LIMIT)
    return text if text and not set(text) & {" ", '"', "="} else json.dumps(text)


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
