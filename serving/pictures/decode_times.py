"""How long decoding is predicted to take, learnt from what it took."""

from collections.abc import Mapping

_PER_JOB_S = 0.0002
_WEIGHT = 0.2  # of what is new
_MIN_LEARNT_S = 0.001  # what took less says little
_RANGE = 20.0  # that a guess may be wrong by
_OPTIMISM = 0.995
_PESSIMISM = 1.25

# Seconds a pixel that the decoder goes over, and a byte of a body that is split and read,
# to which each picture adds some.
INITIAL_RATES: Mapping[str, float] = {"PNG": 15e-9, "JPEG": 10e-9, "body": 4e-9}


class DecodeTimes:
    """Seconds of CPU by kind of work; one for each pool."""

    def __init__(self) -> None:
        self._rates = dict(INITIAL_RATES)

    def predict_s(self, kind: str, units: float) -> float:
        return _PER_JOB_S + self._rates[kind] * units

    def observe(self, kind: str, units: float, spent_s: float) -> None:
        """Work of this kind is done."""
        if spent_s >= _MIN_LEARNT_S:
            old = self._rates[kind]
            self._set(kind, old + _WEIGHT * (spent_s / units - old))

    def observe_aborted(self, kind: str, units: float, spent_s: float) -> None:
        """Work of this kind was given up after so long."""
        self._set(kind, max(self._rates[kind], _PESSIMISM * spent_s / units))

    def observe_refused(self, kind: str) -> None:
        """Work was refused for its predicted time alone, which nothing will correct: at last one
        such request is to be tried.
        """
        self._set(kind, self._rates[kind] * _OPTIMISM)

    def _set(self, kind: str, rate: float) -> None:
        guess = INITIAL_RATES[kind]
        self._rates[kind] = min(max(rate, guess / _RANGE), guess * _RANGE)
