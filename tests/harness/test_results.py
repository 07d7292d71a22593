"""Result files: what is written is read back, with the facts that make it comparable."""

from pathlib import Path

import pytest

from harness.results import Sample, find_newest, name_results, read_results, write_results

SAMPLES = [Sample("echo", 0, "cpu_us", 22.5), Sample("echo", 1, "cpu_us", 24.5)]


def test_samples_and_facts_survive_the_file(tmp_path: Path) -> None:
    path = write_results("serving", "python -m benchmarks.serving", SAMPLES, tmp_path)
    results = read_results(path)
    assert list(results.samples) == SAMPLES
    assert results.facts["command"] == "python -m benchmarks.serving"
    assert {"cpu", "date", "python", "onnxruntime", "numpy", "uvicorn", "grpcio"} <= set(
        results.facts
    )
    assert path.read_text().startswith("# bench: serving\n# command: ")


def test_a_median_is_over_the_runs_of_one_case_and_metric(tmp_path: Path) -> None:
    other = [Sample("echo", 0, "p50_ms", 1.0), Sample("hit", 0, "cpu_us", 1.0)]
    results = read_results(write_results("serving", "x", [*other, *SAMPLES], tmp_path))
    assert results.median("echo", "cpu_us") == 23.5
    assert results.values("echo", "cpu_us") == [22.5, 24.5]
    assert results.cases() == ["echo", "hit"]


def test_a_case_that_was_not_measured_has_no_value(tmp_path: Path) -> None:
    results = read_results(write_results("serving", "x", SAMPLES, tmp_path))
    with pytest.raises(KeyError, match="cascade: cpu_us"):
        results.median("cascade", "cpu_us")


def test_the_name_tells_machine_and_versions_and_is_safe_as_a_file() -> None:
    facts = {"cpu": "Intel(R) Xeon(R) CPU E5 @ 2.60GHz", "cores": "2", "python": "3.11.8"}
    facts |= {"onnxruntime": "1.31", "numpy": "2.4", "uvicorn": "0.54", "grpcio": "1.81"}
    assert name_results("serving", facts) == (
        "serving-intel-xeon-e5-2cores-py3.11.8-onnxruntime1.31-numpy2.4-uvicorn0.54-grpcio1.81.csv"
    )


def test_the_newest_file_is_found_by_the_date_inside_it(tmp_path: Path) -> None:
    old = write_results("serving", "old", SAMPLES, tmp_path)
    text = old.read_text()
    date = read_results(old).facts["date"]
    newer = tmp_path / "serving-another-machine.csv"
    newer.write_text(text.replace(date, "2999-01-01T00:00:00+00:00"))
    (tmp_path / "dual_cnn-x.csv").write_text(text.replace(date, "3999-01-01T00:00:00+00:00"))
    assert find_newest("serving", tmp_path) == newer


def test_without_any_file_the_command_to_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.serving"):
        find_newest("serving", tmp_path)


def test_another_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="columns"):
        read_results(path)
