"""What a meter is: joules of parts of the machine that only grow, with an honest name."""

from collections.abc import Mapping
from typing import Literal, Protocol

Source = Literal["rapl", "nvml", "ina3221", "pmic", "model", "replay"]


class MeterFailed(Exception):
    """A meter cannot be read, now or at all; `str(error)` says why and what to do."""


class MeterDenied(MeterFailed):
    """It is there, and may not be read by this user."""


class Meter(Protocol):
    """Read from one thread at a time."""

    @property
    def source(self) -> Source: ...

    def read_joules(self) -> Mapping[str, float]:
        """Joules of each component since the meter was made: parts that do not overlap, so that
        they may be added up. They never fall. Raises MeterFailed.
        """
