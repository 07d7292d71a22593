"""This process as Linux counts it, under the names that every Prometheus client uses."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from monitoring.metrics.exposition import Family

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def read_process(proc: Path = Path("/proc")) -> Iterator[Family]:
    """CPU time, memory, start and open files; nothing of what cannot be read there."""
    try:
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        boot_s = next(
            float(line.split()[1])
            for line in (proc / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
        open_files = len(os.listdir(proc / "self" / "fd"))
    except (OSError, StopIteration):
        return
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    family = Family(
        "process_cpu_seconds", "counter", "Total user and system CPU time spent in seconds."
    )
    family.add((), cpu_s)
    yield family
    for name, text, value in (
        (
            "start_time_seconds",
            "Start time of the process since the Unix epoch in seconds.",
            boot_s + int(fields[19]) / _TICKS_PER_S,
        ),
        ("virtual_memory_bytes", "Virtual memory size in bytes.", int(fields[20])),
        ("resident_memory_bytes", "Resident memory size in bytes.", int(fields[21]) * _PAGE_BYTES),
        ("open_fds", "Number of open file descriptors.", open_files),
        (
            "max_fds",
            "Maximum number of open file descriptors.",
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        ),
    ):
        family = Family(f"process_{name}", "gauge", text)
        family.add((), value)
        yield family
