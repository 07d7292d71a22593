"""Ending long work early: SIGTERM does what Ctrl-C does, so that children end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from sparing.failure import Failure

INTERRUPTED = 130  # the exit code that shells know for it


@contextmanager
def resumable() -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM end in a Failure that says how to go on. Main thread only."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        sentence = "interrupted; the same command goes on where it stopped"
        raise Failure(sentence, INTERRUPTED) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
