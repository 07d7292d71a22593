"""The process's own numbers are read, and nothing where there are none."""

import time
from pathlib import Path

from monitoring.metrics.process import Process


def test_its_cpu_time_memory_start_and_open_files_are_read() -> None:
    families = {family.name: family for family in Process().read()}
    assert families.keys() == {
        "process_cpu_seconds",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    }
    assert [name for name, one in families.items() if one.kind == "counter"] == [
        "process_cpu_seconds"
    ]
    numbers = {name: one.numbers[()] for name, one in families.items()}
    assert 0 <= time.time() - numbers["process_start_time_seconds"] < 24 * 3600
    assert 0 < numbers["process_open_fds"] <= numbers["process_max_fds"]


def test_without_a_proc_there_are_none(tmp_path: Path) -> None:
    assert list(Process(tmp_path).read()) == []
