"""The process's own numbers are those of Linux."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics.exposition import write_text
from monitoring.metrics.process import read_process


def test_they_have_the_names_and_values_that_prometheus_own_client_gives() -> None:
    theirs = {
        sample.name: sample.value
        for family in ProcessCollector(registry=CollectorRegistry()).collect()
        for sample in family.samples
    }
    ours = {
        sample.name: sample.value
        for family in text_string_to_metric_families(write_text(read_process()).decode())
        for sample in family.samples
    }
    assert ours == pytest.approx(theirs, rel=0.02, abs=1)
    assert 0 <= time.time() - ours["process_start_time_seconds"] < 24 * 3600


def test_without_a_proc_there_are_none(tmp_path: Path) -> None:
    assert list(read_process(tmp_path)) == []
