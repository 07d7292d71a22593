"""A picture of a run: requests and replicas, latency, and the devices' busy time over time."""

import importlib.util
import math
from collections.abc import Iterable
from pathlib import Path

from simulation.results import Summary

_INK, _BLUE, _ORANGE = "#1f2328", "#2f6fb5", "#c2571a"


def require_matplotlib() -> None:
    """Raise ValueError with one sentence if matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: run make setup, or pip install matplotlib")


def plot(summary: Summary, path: Path, title: str) -> None:
    """Write the picture; the file name's suffix says its format. Raises ValueError."""
    require_matplotlib()
    from matplotlib.figure import Figure

    buckets = summary.buckets
    minutes = [bucket.start_s / 60 for bucket in buckets]
    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    load, latency, busy = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title, color=_INK)
    load.plot(minutes, [bucket.requests_s for bucket in buckets], color=_BLUE)
    load.set_ylabel("requests/s", color=_BLUE)
    replicas = load.twinx()
    replicas.step(minutes, [one.replicas for one in buckets], color=_ORANGE, where="post")
    replicas.set_ylabel("ready pods", color=_ORANGE)
    replicas.set_ylim(bottom=0)
    latency.plot(minutes, _list_ms(one.p50_ms for one in buckets), color=_BLUE, label="p50")
    latency.plot(minutes, _list_ms(one.p99_ms for one in buckets), color=_ORANGE, label="p99")
    latency.set_ylabel("latency, ms")
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter("{x:g}")
    latency.yaxis.set_minor_formatter("{x:g}")
    latency.legend(frameon=False)
    busy.plot(minutes, [100 * bucket.busy for bucket in buckets], color=_BLUE)
    busy.set_ylabel("busy, %")
    busy.set_ylim(0, 105)
    busy.set_xlabel("minutes")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be written ({error})") from error


def _list_ms(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
