"""Traces: columns, times, faults of one sentence, and requests that a row stands for."""

from pathlib import Path

import numpy as np
import pytest

from simulation.trace import expand, read_trace


@pytest.mark.parametrize(
    ("text", "times_s"),
    [
        ("3.5\n1\n2\n", [0.0, 1.0, 2.5]),
        ("time_s,tokens\n10,7\n12,8\n", [0.0, 2.0]),
        ("tokens,timestamp_ms\n1,500\n2,2500\n", [0.0, 2.0]),
        ("TIMESTAMP,Tokens\n2023-11-16 18:15:46.5,1\n2023-11-16 18:16:46.5,1\n", [0.0, 60.0]),
        ("when,who\n5,a\n\n9,b\n", [0.0, 4.0]),
        ("\ufefftime_s\n1\n", [0.0]),
    ],
)
def test_arrival_times_are_seconds_since_the_first(
    tmp_path: Path, text: str, times_s: list[float]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    assert read_trace(path).tolist() == pytest.approx(times_s)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["trace.csv", "no arrival times"]),
        ("time_s\n", ["no arrival times"]),
        ("time_s\n1\nsoon\n", ["line 3", "'soon'", "date and time"]),
        ("time_s\n1\nnan\n", ["line 3", "'nan'"]),
        ("a,time_s\n1,2\n3\n", ["line 3", "given ''"]),
    ],
)
def test_a_wrong_trace_is_one_sentence(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"trace\.csv") as raised:
        read_trace(path)
    assert all(word in str(raised.value) for word in words)


def test_a_missing_or_binary_trace_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.csv: No such file"):
        read_trace(tmp_path / "absent.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a CSV file"):
        read_trace(path)


def test_rows_alone_at_their_time_stay_there_and_others_spread_up_to_the_next() -> None:
    found = expand(np.array([0.0, 1.0, 1.0, 1.0, 4.0]), 1, 1.0, seed=1)
    assert found[0] == 0.0
    assert found[-1] == 4.0
    assert np.all((found[1:4] > 1.0) & (found[1:4] < 4.0))


def test_a_row_stands_for_many_requests_in_its_gap() -> None:
    times_s = np.array([0.0, 1.0, 4.0])
    found = expand(times_s, 1000, 2.0, seed=1)
    assert len(found) == 3000
    assert np.all(np.diff(found) >= 0)
    counts, _ = np.histogram(found, [0.0, 0.5, 2.0, 3.0])  # the last gap: the mean of the others
    assert counts.tolist() == [1000, 1000, 1000]
    assert np.array_equal(found, expand(times_s, 1000, 2.0, seed=1))
    assert not np.array_equal(found, expand(times_s, 1000, 2.0, seed=2))


def test_independent_callers_spread_over_a_time_of_their_own() -> None:
    found = expand(np.array([0.0, 1.0, 1.5]), 1000, 1.0, seed=1, spread_s=10.0)
    assert len(found) == 3000
    assert 11.0 < found[-1] < 11.5
    assert np.count_nonzero(found < 1.0) == pytest.approx(100, abs=40)
    assert np.all((expand(np.zeros(5), 1, 1.0, seed=1, spread_s=10.0)) > 0.0)


def test_one_single_time_is_a_burst() -> None:
    assert expand(np.zeros(1), 3, 1.0, seed=1).tolist() == [0.0, 0.0, 0.0]


def test_too_many_requests_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--requests-per-row: .* too many"):
        expand(np.zeros(10), 10**8, 1.0, seed=1)
