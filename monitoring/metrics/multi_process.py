"""Scrapes of several processes added up, as the text that Prometheus reads.

Counters and histograms are summed, and those of processes that ended stay in the sums, which
therefore never go backwards. Gauges are summed over living processes, except the few that `GAUGES`
names. Whatever is counted in a process is added up here without being listed.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitoring.metrics.exposition import write_number


def _largest_known(values: Sequence[float]) -> float:
    """NaN where no process knows."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


# How gauges of several processes become one, where it is not their sum.
GAUGES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sparing_build_info": max,
    "sparing_cache_remote_breaker_open": max,  # 1 where it is open in any process
    "sparing_cache_remote_key_seconds": _largest_known,  # where lookups are slowest
    "sparing_route_info": max,
    "sparing_energy_degraded": max,
    "sparing_carbon_intensity_grams_per_kwh": max,
    "sparing_cache_perceptual_off": max,  # each has its own audits: not a version for each process
    "sparing_waiting_rows": max,  # the fullest, to be held against what one may hold
    "sparing_waiting_rows_limit": max,
    "process_start_time_seconds": min,
}
_ROUTE = re.compile(r'[{,]route="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class _Family:
    """One metric: its comment lines, its type, and its values by name and labels."""

    head: list[str] = field(default_factory=list)
    kind: str = "untyped"
    samples: dict[str, list[float]] = field(default_factory=dict)


class Sums:
    """Adds scrapes up; remembers what ended processes counted."""

    def __init__(self) -> None:
        self._ended: dict[str, _Family] = {}

    def bury(self, last: bytes) -> None:
        """A process has ended; `last` is its last scrape."""
        _add(self._ended, last)
        for family in self._ended.values():
            family.samples = {key: [sum(values)] for key, values in family.samples.items()}
        for name in [name for name, one in self._ended.items() if one.kind == "gauge"]:
            del self._ended[name]

    def add_up(self, scrapes: Iterable[bytes]) -> bytes:
        """The newest scrapes of the living processes, and all that ended ones counted."""
        total: dict[str, _Family] = {}
        for scrape in scrapes:
            _add(total, scrape)
        if total:
            self._forget_other_routes(total)
        for name, ended in self._ended.items():
            family = total.setdefault(name, _Family(ended.head, ended.kind))
            for key, values in ended.samples.items():
                family.samples.setdefault(key, []).extend(values)
        return "".join(_write(name, family) for name, family in total.items()).encode()

    def _forget_other_routes(self, living: dict[str, _Family]) -> None:
        """What is served no more is dropped, as a process drops it."""
        routes = {_route_of(key) for family in living.values() for key in family.samples}
        for family in self._ended.values():
            for key in [key for key in family.samples if _route_of(key) not in {*routes, ""}]:
                del family.samples[key]


def _route_of(key: str) -> str:
    """The route that a sample is about, "" for none."""
    found = _ROUTE.search(key)
    return found[1] if found else ""


def _add(families: dict[str, _Family], scrape: bytes) -> None:
    family = _Family()
    head: list[str] = []
    for line in scrape.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            family = families.setdefault(name, _Family([*head, line], kind))
            head = []
        elif line.startswith("#"):
            head = [line]
        elif line:
            key, _, value = line.rpartition(" ")
            family.samples.setdefault(key, []).append(float(value))


def _write(name: str, family: _Family) -> str:
    merge = GAUGES.get(name, sum)
    lines = [f"{key} {write_number(merge(values))}" for key, values in family.samples.items()]
    return "\n".join([*family.head, *lines]) + "\n"
