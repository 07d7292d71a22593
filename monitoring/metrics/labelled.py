"""Names and meanings of the labelled numbers that are read at each scrape."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import MetricInfo

Labelled = Mapping[str, Mapping[tuple[str, ...], float]]  # by name, then by label values


ENERGY: Mapping[str, MetricInfo] = {
    "energy_joules": MetricInfo(
        "counter",
        "Device energy of rows in joules, by the exit that answered.",
        ("route", "exit", "source"),
    ),
    "energy_account_joules": MetricInfo(
        "counter",
        "Metered energy in joules, by account: rows, overhead, others, idle.",
        ("account", "source"),
    ),
    "energy_meter_joules": MetricInfo(
        "counter", "Metered energy in joules, by component.", ("component", "source")
    ),
    "energy_degraded": MetricInfo("gauge", "1 while the energy meter cannot be read."),
    "carbon_grams": MetricInfo(
        "counter",
        "Grams of CO2 equivalent of energy and hardware; an empty route: idle and overhead.",
        ("route",),
    ),
    "carbon_intensity_grams_per_kwh": MetricInfo(
        "gauge", "Carbon intensity of the electricity, from the settings."
    ),
}
SERVED: Mapping[str, MetricInfo] = {
    "route_info": MetricInfo(
        "gauge",
        "Always 1; the served versions of routes.",
        ("route", "version", "digest", "pipeline", "device"),
    ),
    "waiting_rows": MetricInfo("gauge", "Rows waiting in the route's queues.", ("route",)),
    "waiting_rows_limit": MetricInfo(
        "gauge", "Maximum number of rows waiting in the queues of one route version."
    ),
    "device_busy_seconds": MetricInfo(
        "counter", "Seconds of each device inside stages, by its own clock.", ("device",)
    ),
    "device_state_bytes": MetricInfo(
        "gauge", "Bytes that rows' states hold on the device.", ("device",)
    ),
    "device_state_reserved_bytes": MetricInfo(
        "gauge", "Bytes that rows have reserved for states on the device.", ("device",)
    ),
    "device_state_limit_bytes": MetricInfo(
        "gauge", "Bytes that rows' states may hold on the device.", ("device",)
    ),
}
FAMILIES = {**ENERGY, **SERVED}
