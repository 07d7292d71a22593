"""Interrupting long work: SIGTERM acts like Ctrl-C, so that child processes end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from sparing.failure import Failure

INTERRUPTED = 130  # the exit code of shells after Ctrl-C: 128 + SIGINT


@contextmanager
def resumable() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a Failure that explains how to resume. Main thread only."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        sentence = "interrupted; run the same command again to resume"
        raise Failure(sentence, INTERRUPTED) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
