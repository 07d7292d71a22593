"""Numbers of panels with the units that people read: prefixes instead of powers of ten."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sparing.units import find_prefix, show_digits


class Unit(NamedTuple):
    """How the numbers of a panel are written."""

    name: str  # behind the number
    times: float = 1.0
    prefixed: bool = False  # k, M, m and so on stand before the name


# Grafana's names of units; `si:` and `suffix:` name others.
_UNITS: Mapping[str, Unit] = {
    "percentunit": Unit("%", 100.0),
    "none": Unit(""),
    "short": Unit(""),
    "reqps": Unit("requests/s"),
    "rowsps": Unit("rows/s"),
    "s": Unit("s", prefixed=True),
    "watt": Unit("W", prefixed=True),
    "joule": Unit("J", prefixed=True),
    "bytes": Unit("B", prefixed=True),
    "massg": Unit("g", prefixed=True),
}


def read_unit(named: str) -> Unit:
    """Return the unit that Grafana names so."""
    kind, _, name = named.partition(": ")
    if kind == "si":
        return Unit(name.replace("MAC", "MACs"), prefixed=True)
    return _UNITS.get(named, Unit(name or kind))


def choose_prefix(values: Iterable[float], unit: Unit) -> tuple[float, str]:
    """Return the factor and the name by which all these numbers are short: 0.0012 J is 1.2 mJ."""
    most = max((abs(value * unit.times) for value in values), default=0.0)
    if not unit.prefixed or most == 0:
        return unit.times, unit.name
    size, prefix = find_prefix(most)
    return unit.times / size, prefix + unit.name


def show(value: float, unit: Unit) -> str:
    """Return one number with three digits and its unit."""
    times, name = choose_prefix([value], unit)
    return f"{show_digits(value * times)} {name}".strip()
