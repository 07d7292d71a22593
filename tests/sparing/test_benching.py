"""Benchmarks run one after another, also after one that failed."""

import pytest

from sparing import benching


def test_a_benchmark_that_fails_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benching, "BENCHMARKS", {"fails": "no_such_module", "runs": "this"})
    assert benching.bench(["fails", "runs"], []) == 1
    assert "The Zen of Python" in capfd.readouterr().out
    assert benching.bench(["runs"], []) == 0
