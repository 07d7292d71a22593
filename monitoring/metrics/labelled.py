"""Numbers that are read at a scrape, with labels: their names, and what they mean."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

Labelled = Mapping[str, Mapping[tuple[str, ...], float]]  # by name, then by label values


ENERGY: Mapping[str, Meaning] = {
    "energy_joules": Meaning(
        "counter",
        "Device energy of rows in joules, by the exit that answered.",
        ("route", "exit", "source"),
    ),
    "energy_account_joules": Meaning(
        "counter",
        "Metered energy in joules, by account: rows, overhead, others, idle.",
        ("account", "source"),
    ),
    "energy_meter_joules": Meaning(
        "counter", "Metered energy in joules, by component.", ("component", "source")
    ),
    "energy_degraded": Meaning("gauge", "1 while the energy meter cannot be read."),
    "carbon_grams": Meaning(
        "counter",
        "Grams of CO2 equivalent of energy and hardware; an empty route: idle and overhead.",
        ("route",),
    ),
    "carbon_intensity_grams_per_kwh": Meaning(
        "gauge", "Carbon intensity of the electricity, from the settings."
    ),
}
SERVED: Mapping[str, Meaning] = {
    "route_info": Meaning(
        "gauge",
        "Always 1; the served versions of routes.",
        ("route", "version", "digest", "pipeline"),
    ),
    "waiting_rows": Meaning("gauge", "Rows waiting in the route's queues.", ("route",)),
    "waiting_rows_limit": Meaning(
        "gauge", "Maximum number of rows waiting in the queues of one route version."
    ),
}
FAMILIES = {**ENERGY, **SERVED}
