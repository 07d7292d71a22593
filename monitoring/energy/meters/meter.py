"""Interface of a meter: joules of parts of the machine, which only grow, and the source's name."""

from collections.abc import Mapping
from typing import Literal, Protocol

Source = Literal["rapl", "nvml", "ina3221", "pmic", "model", "replay"]


class MeterFailed(Exception):
    """A meter cannot be read, now or at all; `str(error)` has the reason and a remedy."""


class MeterDenied(MeterFailed):
    """The meter exists, but this user may not read it."""


class Meter(Protocol):
    """Read from one thread at a time."""

    @property
    def source(self) -> Source: ...

    def read_joules(self) -> Mapping[str, float]:
        """Return the joules of each component since the meter was created.

        Components do not overlap, so they can be summed. Values never fall. Raises MeterFailed.
        """
