"""A meter that is there and may not be read yet: opened when it lets itself be opened."""

from collections.abc import Callable, Mapping

from monitoring.energy.meters.meter import Meter, Source


class DeferredMeter:
    """Each reading tries again until one succeeds; until then MeterFailed says why not."""

    def __init__(self, source: Source, make: Callable[[], Meter]) -> None:
        self.source = source
        self._make = make
        self._meter: Meter | None = None

    def read_joules(self) -> Mapping[str, float]:
        if self._meter is None:
            self._meter = self._make()
        return self._meter.read_joules()
