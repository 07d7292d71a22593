"""The cache where pictures repeat: targets and plots."""

import numpy as np

from benchmarks.duplicates.memory_cost import OFF, ON
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, difference, each, ratio
from harness.results import Results

SHARES = (0, 50, 100)
LARGE, DUAL, MEMORY, SIMILAR = "large", "dual", "dual + memory", "dual + memory + similar"
PLOTTED = {"device_us": "device time", "cpu_us": "CPU of the whole server process"}
COLUMNS = plain({
    "accuracy": "accuracy",
    "device_us": "device µs/picture",
    "cpu_us": "process CPU µs/picture",
    "remembered": "answered from the cache",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "requests_s": "requests/s",
    "requests": "requests",
})  # fmt: skip


def _changed(system: str) -> Figure:
    """Points of accuracy, against the cascade alone: the largest difference of any run."""
    return lambda results: np.array([max(
        np.abs(difference(f"{system} @ {load}", f"{DUAL} @ {load}", "accuracy", 100)(results)).max()
        for load in list_loads(results)
    )])  # fmt: skip


TARGETS = (
    Target("Device time of the cascade without repeats, of the large model's",
           ratio(f"{DUAL} @ 0 %", f"{LARGE} @ 0 %", "device_us", 100), 20, unit="%"),
    Target("Device time with the cache where each picture comes twice, of the large model's",
           ratio(f"{MEMORY} @ 100 %", f"{LARGE} @ 100 %", "device_us", 100), 10, unit="%"),
    Target("The cache's own CPU without repeats, of the large model's",
           lambda r: (100 * (each(r, ON, "cpu_us") - each(r, OFF, "cpu_us"))
                      / r.median(f"{LARGE} @ 0 %", "cpu_us")), 1, unit="%", digits=2),
    Target("The cache's own CPU without repeats, of the cascade's",
           lambda r: 100 * (each(r, ON, "cpu_us") / each(r, OFF, "cpu_us") - 1), 1, unit="%"),
    Target("Accuracy changed by the cache, at most in any run", _changed(MEMORY), 0,
           unit="points", digits=2),
    Target("Accuracy changed by the similar tier, at most in any run", _changed(SIMILAR), 0.1,
           unit="points", digits=2),
)  # fmt: skip


def list_loads(results: Results) -> list[str]:
    """The workloads measured, in order."""
    loads = (case.split(" @ ")[1] for case in results.cases() if " @ " in case)
    return list(dict.fromkeys(loads))


def draw(results: Results) -> list[Panel]:
    """Over the share that comes twice; only to the similar tier a turned repeat may be known."""
    lines = {name: (name, "") for name in (LARGE, DUAL, MEMORY, SIMILAR)}
    lines[f"{SIMILAR}, turned"] = (SIMILAR, " turned")
    return [
        Curves(f"{title}, µs a picture", "pictures that come a second time, %", "", {
            label: [
                (share, results.median(f"{system} @ {share} %{turned if share else ''}", metric))
                for share in SHARES
            ]
            for label, (system, turned) in lines.items()
        }, log="y")
        for metric, title in PLOTTED.items()
    ]  # fmt: skip


def make_report(data: str) -> Report:
    bench = f"duplicates_{data}"
    return Report(bench, bench, f"What the cache adds where pictures of {data} repeat", TARGETS,
                  draw, [Table(COLUMNS)])  # fmt: skip
