"""The gRPC status of each error and of each call that the server ends: names of status codes. Knows
no transport.
"""

import logging
import math
from collections.abc import Mapping

from core import errors
from serving.grpc.open_calls import EndReason

STATUS: Mapping[type[errors.SparingError], str] = {
    errors.InvalidInput: "INVALID_ARGUMENT",
    errors.BodyTooLarge: "RESOURCE_EXHAUSTED",
    errors.UnsupportedEncoding: "UNIMPLEMENTED",
    errors.Unauthorized: "UNAUTHENTICATED",
    errors.UnknownRoute: "NOT_FOUND",
    errors.Overloaded: "RESOURCE_EXHAUSTED",
    errors.RequestTimeout: "DEADLINE_EXCEEDED",
    errors.DeadlineExceeded: "DEADLINE_EXCEEDED",
    errors.RouteUnavailable: "UNAVAILABLE",
    errors.StageFailed: "INTERNAL",
    errors.ModelDirectoryError: "UNAVAILABLE",
}

END_STATUS: Mapping[EndReason, str] = {
    EndReason.PREEMPTED: "RESOURCE_EXHAUSTED",
    EndReason.UNFINISHED: "RESOURCE_EXHAUSTED",
    EndReason.LATE_MESSAGE: "DEADLINE_EXCEEDED",
    EndReason.UNREAD: "DEADLINE_EXCEEDED",
    EndReason.IDLE: "UNAVAILABLE",
    EndReason.DRAINING: "UNAVAILABLE",
}

FAILED = "the server failed on this request, its log has the reason"
MAX_SENTENCE = 1000  # statuses travel in trailers, which clients limit to 8 kB


def describe(error: errors.SparingError) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Return the code's name, the sentence and the trailing metadata for an error."""
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, errors.Overloaded | errors.RouteUnavailable):
        trailing = (("retry-after", str(max(1, math.ceil(error.retry_after_s)))),)
    return STATUS[type(error)], shorten(error), trailing


def shorten(error: errors.SparingError) -> str:
    return str(error)[:MAX_SENTENCE]


def is_news(record: logging.LogRecord) -> bool:
    """Return whether a log record of grpc matters. It does not if the client disconnected before
    its call ended, or if a method's name or metadata is not text: any client could fill the log
    with those.
    """
    error = record.exc_info[1] if record.exc_info else None
    told = type(error).__name__ in {"ExecuteBatchError", "UnicodeDecodeError"}
    return not told and not str(record.msg).startswith("ExecuteBatchError")
