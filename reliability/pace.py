"""Lines of progress, and a run that ends early in an orderly way."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """The count, the rate and the remaining time."""

    def __init__(self, total: float, done: float = 0) -> None:
        self._total = total
        self._first = done
        self._began = time.monotonic()

    def line(self, done: float) -> str:
        passed_s = time.monotonic() - self._began
        rate = (done - self._first) / passed_s if passed_s else 0.0
        left = f"{(self._total - done) / rate / 60:.1f} min left" if rate else "no rate yet"
        return f"{done:,.0f} of {self._total:,.0f}, {rate:,.0f}/s, {left}"


class Stop:
    """Set by the first SIGTERM or SIGINT; what was done so far is kept."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        print(f"{signal.Signals(number).name}: ending early with what was done", flush=True)


@contextmanager
def catch_stop() -> Iterator[Stop]:
    stop = Stop()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(one, stop._ask) for one in signals]
    try:
        yield stop
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)
