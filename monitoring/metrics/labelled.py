"""Numbers that are read at a scrape, with labels: their names, and what they mean."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

Labelled = Mapping[str, Mapping[tuple[str, ...], float]]  # by name, then by label values


ENERGY: Mapping[str, Meaning] = {
    "energy_joules": Meaning(
        "counter",
        "Joules of the device that rows took, by the exit that answered.",
        ("route", "exit", "source"),
    ),
    "energy_account_joules": Meaning(
        "counter",
        "The meter's joules by account: rows, overhead, others, idle.",
        ("account", "source"),
    ),
    "energy_meter_joules": Meaning(
        "counter", "What the meter said of each component.", ("component", "source")
    ),
    "energy_degraded": Meaning("gauge", "1 while the meter cannot be read."),
    "carbon_grams": Meaning(
        "counter",
        "Grams of CO2 equivalent, by energy and the hardware's share; no route: idle, overhead.",
        ("route",),
    ),
    "carbon_intensity_grams_per_kwh": Meaning("gauge", "As set."),
}
SERVED: Mapping[str, Meaning] = {
    "route_info": Meaning(
        "gauge", "Always 1; what is served.", ("route", "version", "digest", "pipeline")
    ),
    "waiting_rows": Meaning("gauge", "Rows that wait in the route's lanes.", ("route",)),
    "waiting_rows_limit": Meaning("gauge", "Rows that may wait in the lanes of one version."),
}
FAMILIES = {**ENERGY, **SERVED}
