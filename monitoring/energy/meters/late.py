"""A meter that exists but may not be readable yet: opened at the first reading that succeeds."""

from collections.abc import Callable, Mapping

from monitoring.energy.meters.meter import Meter, Source


class DeferredMeter:
    """Each reading tries to open the meter until one succeeds; until then it raises MeterFailed."""

    def __init__(self, source: Source, make: Callable[[], Meter]) -> None:
        self.source = source
        self._make = make
        self._meter: Meter | None = None

    def read_joules(self) -> Mapping[str, float]:
        if self._meter is None:
            self._meter = self._make()
        return self._meter.read_joules()
