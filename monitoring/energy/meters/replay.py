"""Joules from a file, for tests and to replay a recorded day.

The file is a CSV with a column `time_s` and one column of cumulative joules for each component.
Joules are interpolated between two lines and constant after the last one.
"""

import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from monitoring.energy.meters.meter import MeterFailed, Source


class ReplayMeter:
    """Starts at the first line when created. Raises MeterFailed if the file is not such a CSV."""

    source: Source = "replay"

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._times_s, self._joules = _read(path)
        self._clock = clock
        self._begin_s = clock()

    def read_joules(self) -> Mapping[str, float]:
        at_s = self._times_s[0] + self._clock() - self._begin_s
        return {
            name: float(np.interp(at_s, self._times_s, joules) - joules[0])
            for name, joules in self._joules.items()
        }


def _read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
        columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
        times_s = columns.pop("time_s")
    except OSError as error:
        raise MeterFailed(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise MeterFailed(f"{path}: expected a CSV of numbers with the column time_s") from None
    everything = (times_s, *columns.values())
    grows = all(np.isfinite(one).all() and (np.diff(one) >= 0).all() for one in everything)
    if not columns or not grows:
        raise MeterFailed(f"{path}: times and joules must be numbers that never fall")
    return times_s, columns
