"""Metrics of this process, read by Prometheus' own client library."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import ProcessCollector

from monitoring.metrics.snapshot import Family, Kind

_PROC = Path("/proc")


class Process:
    """Its CPU time, memory, start and open files, under the names of every Prometheus client."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._collector = ProcessCollector(proc=str(proc), registry=None)

    def read(self) -> Iterator[Family]:
        """Values that cannot be read are left out."""
        for metric in self._collector.collect():
            kind: Kind = "counter" if metric.type == "counter" else "gauge"
            family = Family(metric.name, kind, metric.documentation)
            family.add((), metric.samples[0].value)
            yield family
