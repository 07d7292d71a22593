"""Predicts how long decoding takes, from the times of earlier work."""

from collections.abc import Mapping

_PER_JOB_S = 0.0002
_WEIGHT = 0.2  # of a new measurement
_MIN_LEARNT_S = 0.001  # shorter times are mostly noise
_RANGE = 20.0  # largest factor between guess and truth
_OPTIMISM = 0.995
_PESSIMISM = 1.25

# Seconds for each pixel that the decoder passes, and for each byte of a body that is split and
# read, with an addition for each picture.
INITIAL_RATES: Mapping[str, float] = {"PNG": 15e-9, "JPEG": 10e-9, "body": 4e-9}


class DecodeTimes:
    """CPU seconds by kind of work, for one pool."""

    def __init__(self) -> None:
        self._rates = dict(INITIAL_RATES)

    def predict_s(self, kind: str, units: float) -> float:
        """Return the predicted seconds for work of this kind and size."""
        return _PER_JOB_S + self._rates[kind] * units

    def observe(self, kind: str, units: float, spent_s: float) -> None:
        """Learn from work of this kind that finished."""
        if spent_s >= _MIN_LEARNT_S:
            old = self._rates[kind]
            self._set(kind, old + _WEIGHT * (spent_s / units - old))

    def observe_aborted(self, kind: str, units: float, spent_s: float) -> None:
        """Learn from work of this kind that was given up after so long."""
        self._set(kind, max(self._rates[kind], _PESSIMISM * spent_s / units))

    def observe_refused(self, kind: str) -> None:
        """Learn from work that was refused only for its predicted time: no measurement would
        correct that time, so the prediction falls until one such request is tried.
        """
        self._set(kind, self._rates[kind] * _OPTIMISM)

    def _set(self, kind: str, rate: float) -> None:
        guess = INITIAL_RATES[kind]
        self._rates[kind] = min(max(rate, guess / _RANGE), guess * _RANGE)
