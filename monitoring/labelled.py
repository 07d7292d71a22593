"""Numbers that are read at a scrape, with labels: their names, and what they mean."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Labelled = Mapping[str, Mapping[tuple[str, ...], float]]  # by name, then by label values


class Family(NamedTuple):
    """What Prometheus is told of a name."""

    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...] = ()


ENERGY: Mapping[str, Family] = {
    "energy_joules": Family(
        "counter",
        "Joules of the device that rows took, by the exit that answered.",
        ("route", "exit", "source"),
    ),
    "energy_account_joules": Family(
        "counter",
        "The meter's joules by account: rows, overhead, others, idle.",
        ("account", "source"),
    ),
    "energy_meter_joules": Family(
        "counter", "What the meter said of each component.", ("component", "source")
    ),
    "energy_degraded": Family("gauge", "1 while the meter cannot be read."),
    "carbon_grams": Family(
        "counter",
        "Grams of CO2 equivalent, by energy and the hardware's share; no route: idle, overhead.",
        ("route",),
    ),
    "carbon_intensity_grams_per_kwh": Family("gauge", "As set."),
}
SERVED: Mapping[str, Family] = {
    "route_info": Family(
        "gauge", "Always 1; what is served.", ("route", "version", "digest", "pipeline")
    ),
    "waiting_rows": Family("gauge", "Rows that wait in the route's lanes.", ("route",)),
    "waiting_rows_limit": Family("gauge", "Rows that may wait in the lanes of one version."),
}
FAMILIES = {**ENERGY, **SERVED}
