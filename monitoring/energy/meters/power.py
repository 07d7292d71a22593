"""Joules of a sensor that tells watts: the area under what was read, by trapezoids."""

from collections.abc import Mapping


class PowerIntegral:
    """Add readings with the time of each; ask for the sums."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._last_w: Mapping[str, float] = {}
        self._joules: dict[str, float] = {}

    def add(self, watts: Mapping[str, float], now_s: float) -> Mapping[str, float]:
        """Joules so far of each component; the first reading begins at 0."""
        if self._last_s is None:
            self._joules = dict.fromkeys(watts, 0.0)
        else:
            for name, power_w in watts.items():
                mean_w = (power_w + self._last_w[name]) / 2
                self._joules[name] += mean_w * (now_s - self._last_s)
        self._last_s, self._last_w = now_s, watts
        return dict(self._joules)
