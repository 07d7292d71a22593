"""The names of what is counted about energy; `metrics` makes samples of them."""

from collections.abc import Mapping

EnergyCounts = Mapping[str, Mapping[tuple[str, ...], float]]  # by name, then by label values

# name -> kind, help, labels
ENERGY: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "energy_joules": (
        "counter",
        "Joules of the device that rows took, by the exit that answered.",
        ("route", "exit", "source"),
    ),
    "energy_account_joules": (
        "counter",
        "The meter's joules by account: rows, overhead, others, idle.",
        ("account", "source"),
    ),
    "energy_meter_joules": (
        "counter",
        "What the meter said of each component.",
        ("component", "source"),
    ),
    "energy_degraded": ("gauge", "1 while the meter cannot be read.", ()),
    "carbon_grams": (
        "counter",
        "Grams of CO2 equivalent, by energy and by the hardware's share; without route: idle "
        "and overhead.",
        ("route",),
    ),
    "carbon_intensity_grams_per_kwh": ("gauge", "As set.", ()),
}
