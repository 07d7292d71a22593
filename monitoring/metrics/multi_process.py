"""Sums of the snapshots of several processes.

Counters and histograms are summed. The counts of processes that ended stay in the sums, which
therefore never fall. Gauges are summed over running processes, except those in `GAUGES`. Every
metric of a process is summed here without being listed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from monitoring.metrics.rollout_counts import PREFIX, SHARE
from monitoring.metrics.snapshot import Buckets, Family, Snapshot, Values


def _largest_known(values: Sequence[float]) -> float:
    """Return the largest value that is a number, or NaN."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


# How to combine the gauges of several processes where it is not their sum.
GAUGES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sparing_build_info": max,
    "sparing_cache_remote_breaker_open": max,  # 1 where it is open in any process
    "sparing_cache_remote_key_seconds": _largest_known,  # where lookups are slowest
    "sparing_route_info": max,
    "sparing_rollout_info": max,
    SHARE: max,
    "sparing_energy_degraded": max,
    "sparing_carbon_intensity_grams_per_kwh": max,
    "sparing_cache_perceptual_off": max,  # each has its own audits: not a version for each process
    "sparing_waiting_rows": max,  # the fullest, to be held against what one may hold
    "sparing_waiting_rows_limit": max,
    "process_start_time_seconds": min,
}


class ScrapeSums:
    """Sums snapshots, including the last ones of ended processes."""

    def __init__(self) -> None:
        self._ended: dict[str, Family] = {}

    def retire(self, last: Snapshot) -> None:
        """A process has ended; `last` is its last snapshot."""
        counted = [family for family in last if family.kind != "gauge"]
        self._ended = {family.name: family for family in _merge([*self._ended.values(), *counted])}

    def add_up(self, snapshots: Iterable[Snapshot]) -> Snapshot:
        """The newest snapshots of the running processes, plus the counts of ended ones."""
        living = [family for snapshot in snapshots for family in snapshot]
        if living:
            self._forget_other_routes(living)
        return list(_merge([*living, *self._ended.values()]))

    def _forget_other_routes(self, living: Iterable[Family]) -> None:
        """Drop routes that are no longer served, and rollouts that are over, as each process
        does.
        """
        served = {"", *(_route_of(one, values) for one in living for values in _list_series(one))}
        rolled = {route for one in living if one.name == SHARE for (route,) in one.numbers}
        for family in self._ended.values():
            kept = rolled if family.name.startswith(PREFIX) else served
            for series in (family.numbers, family.histograms):
                for values in [one for one in series if _route_of(family, one) not in kept]:
                    del series[values]


def _list_series(family: Family) -> Iterator[Values]:
    yield from family.numbers
    yield from family.histograms


def _route_of(family: Family, values: Values) -> str:
    """The route that a series is about, "" for none."""
    return values[family.labels.index("route")] if "route" in family.labels else ""


def _merge(families: Iterable[Family]) -> Iterator[Family]:
    """Merge families of the same name."""
    by_name: dict[str, list[Family]] = {}
    for family in families:
        by_name.setdefault(family.name, []).append(family)
    for name, alike in by_name.items():
        first = alike[0]
        bounds = max(family.bounds for family in alike)  # a histogram without series has none
        merged = Family(name, first.kind, first.text, first.labels, bounds)
        merged.numbers = _merge_numbers(alike, sum if first.kind == "counter" else _find(name))
        merged.histograms = _merge_histograms(alike)
        yield merged


def _find(gauge: str) -> Callable[[Sequence[float]], float]:
    return GAUGES.get(gauge, sum)


def _merge_numbers(
    alike: Iterable[Family], merge: Callable[[Sequence[float]], float]
) -> dict[Values, float]:
    found: dict[Values, list[float]] = {}
    for family in alike:
        for values, value in family.numbers.items():
            found.setdefault(values, []).append(value)
    return {values: merge(several) for values, several in found.items()}


def _merge_histograms(alike: Iterable[Family]) -> dict[Values, Buckets]:
    merged: dict[Values, Buckets] = {}
    for family in alike:
        for values, one in family.histograms.items():
            so_far = merged.get(values)
            if so_far is None:
                merged[values] = Buckets(one.counts, one.total)
            else:
                counts = [a + b for a, b in zip(so_far.counts, one.counts, strict=True)]
                merged[values] = Buckets(counts, so_far.total + one.total)
    return merged
