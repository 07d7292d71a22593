"""The file of saved ratios: read by all, written by one at a time, and never needed."""

import json
import threading
from pathlib import Path

import pytest

from core.devices import saved_ratios
from core.devices.saved_ratios import FILE, LOCK, MAX_KEPT, find_folder, read_or_measure


def measure_nothing() -> float:
    raise AssertionError("it was saved")


def test_what_is_saved_is_not_measured_again(tmp_path: Path) -> None:
    assert read_or_measure("a", lambda: 0.5, tmp_path) == 0.5
    assert read_or_measure("b", lambda: 0.7, tmp_path) == 0.7
    assert read_or_measure("a", measure_nothing, tmp_path) == 0.5


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"a": "0.5"}', '{"a": 0}', '{"a": -1}', '{"a": NaN}']
)
def test_a_damaged_file_is_measured_and_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_or_measure("a", lambda: 0.5, tmp_path) == 0.5
    assert json.loads((tmp_path / FILE).read_text()) == {"a": 0.5}


def test_a_folder_that_cannot_be_made_only_means_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "cache", None):
        assert read_or_measure("a", lambda: 0.5, folder) == 0.5


def test_of_processes_that_start_together_one_measures(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    found: list[float] = []

    def measure() -> float:
        begun.set()
        assert go_on.wait(60)
        return 0.5

    first = threading.Thread(target=lambda: found.append(read_or_measure("a", measure, tmp_path)))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(
        target=lambda: found.append(read_or_measure("a", measure_nothing, tmp_path))
    )
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert found == [0.5, 0.5]


def test_a_lock_that_stays_taken_does_not_block_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_ratios, "MAX_WAIT_S", 0.0)

    def measure() -> float:
        assert read_or_measure("a", lambda: 0.7, tmp_path) == 0.7
        return 0.5

    assert read_or_measure("a", measure, tmp_path) == 0.5
    assert json.loads((tmp_path / FILE).read_text()) == {"a": 0.5}
    assert (tmp_path / LOCK).exists()


def test_the_file_stays_small(tmp_path: Path) -> None:
    many = {str(number): 0.5 for number in range(MAX_KEPT)}
    (tmp_path / FILE).write_text(json.dumps(many))
    read_or_measure("new", lambda: 0.6, tmp_path)
    saved = json.loads((tmp_path / FILE).read_text())
    assert len(saved) == MAX_KEPT
    assert "0" not in saved and saved["new"] == 0.6


def test_the_folder_is_that_of_the_users_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert find_folder() == Path("/elsewhere/sparing")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/users/me")
    assert find_folder() == Path("/users/me/.cache/sparing")
