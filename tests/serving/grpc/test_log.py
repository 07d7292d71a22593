"""What gRPC's library logs of a call that its client spoils is held back; all else is not."""

import logging
from types import TracebackType

import pytest

from serving.grpc.status import is_news

Told = tuple[type[BaseException], BaseException, TracebackType | None]


class ExecuteBatchError(Exception):
    """As the library names its own."""


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    told: Told | None = None if error is None else (type(error), error, None)
    return logging.LogRecord("grpc", logging.ERROR, "", 0, message, None, told)


@pytest.mark.parametrize(
    ("message", "error", "news"),
    [
        ("ExecuteBatchError: Failed", None, False),
        ("Unexpected [ExecuteBatchError] raised", ExecuteBatchError(), False),
        ("Invalid encoding on b''", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), False),
        ("Unexpected [KeyError] raised", KeyError(), True),
        ("something else", None, True),
    ],
)
def test_only_what_a_client_can_cause_is_held_back(
    message: str, error: Exception | None, news: bool
) -> None:
    assert is_news(record(message, error)) is news
