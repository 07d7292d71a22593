"""Joules of a sensor that reports watts: the integral of its readings by the trapezoidal rule."""

from collections.abc import Mapping


class PowerIntegral:
    """Sums up readings and their times."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._last_w: Mapping[str, float] = {}
        self._joules: dict[str, float] = {}

    def add(self, watts: Mapping[str, float], now_s: float) -> Mapping[str, float]:
        """Add a reading at `now_s`; return each component's joules so far, first 0."""
        if self._last_s is None:
            self._joules = dict.fromkeys(watts, 0.0)
        else:
            for name, power_w in watts.items():
                mean_w = (power_w + self._last_w[name]) / 2
                self._joules[name] += mean_w * (now_s - self._last_s)
        self._last_s, self._last_w = now_s, watts
        return dict(self._joules)
