"""Which of two files runs: measured once, in turns, or as the settings say."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.devices import int8_speed
from core.devices.int8_speed import find_ratio, measure_ratio
from core.devices.interface import FilePair, WorkClock
from core.devices.onnx import OnnxDevice
from core.devices.saved_ratios import FILE

Cost = Callable[[int], float]


class Clock:
    """The time that the sessions say they take."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._began_s = 0.0

    def begin(self) -> None:
        self._began_s = self.now_s

    def end(self) -> float:
        return self.now_s - self._began_s

    def total_s(self) -> float:
        return self.now_s


class Session:
    """A net whose run of some rows takes `cost` of them, in seconds."""

    def __init__(self, clock: Clock, cost: Cost, size: object = 4) -> None:
        self._clock, self._cost, self._size = clock, cost, size
        self.rows: list[int] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["N", self._size])]

    def run(self, _names: None, feed: dict[str, np.ndarray], /) -> None:
        if self._size == "T" and feed["x"].shape[1] > 1:
            raise RuntimeError("takes one column")
        self.rows.append(len(feed["x"]))
        self._clock.now_s += self._cost(len(feed["x"]))


def compare(float_cost: Cost, int8_cost: Cost, max_batch: int = 8) -> tuple[float, Session]:
    clock = Clock()
    float32, int8 = (Session(clock, cost) for cost in (float_cost, int8_cost))
    return measure_ratio(float32, int8, max_batch, clock), int8


@pytest.fixture(autouse=True)
def _few_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(int8_speed, "TURNS_S", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_one_row_and_a_full_batch_count_alike() -> None:
    ratio, int8 = compare(lambda _: 4e-4, lambda rows: 4e-4 if rows == 1 else 1e-4)
    assert ratio == pytest.approx(0.5)
    assert set(int8.rows) == {1, 8}


def test_a_single_slow_turn_does_not_decide() -> None:
    slow = iter([1.0, 1.0, 1.0, 50.0] + [1.0] * 100)
    ratio, _ = compare(lambda _: 2e-4, lambda _: 1e-4 * next(slow))
    assert ratio == pytest.approx(0.5)


def test_a_full_batch_that_takes_long_is_measured_with_fewer_rows() -> None:
    _, int8 = compare(lambda rows: rows * 5e-3, lambda rows: rows * 5e-3, max_batch=64)
    assert max(int8.rows) == 2


def test_files_that_do_not_run_alone_are_alike() -> None:
    clock = Clock()
    broken = Session(clock, lambda _: 1 / 0)
    assert measure_ratio(broken, broken, 8, clock) == 1.0


def test_a_free_dimension_that_must_be_one_is_found() -> None:
    clock = Clock()
    float32, int8 = Session(clock, lambda _: 2e-4, "T"), Session(clock, lambda _: 1e-4, "T")
    assert measure_ratio(float32, int8, 8, clock) == pytest.approx(0.5)


def find(device: str = "one thread", sha256: str = "b", ratio: float = 0.5) -> tuple[float, int]:
    """The ratio, and how many files were opened for it."""
    clock, opened = Clock(), []

    def open_file(path: Path) -> Any:
        opened.append(path)
        return Session(clock, lambda _: ratio * 1e-4 if path.name == "int8" else 1e-4)

    pair = FilePair(Path("float32"), Path("int8"), ("a", sha256), 8)
    return round(find_ratio(pair, open_file, clock, device), 6), len(opened)


def test_what_was_measured_is_saved_for_the_files_the_processor_and_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find() == (0.5, 2)
    assert find(ratio=0.9) == (0.5, 0)
    assert find("two threads", ratio=0.9) == (0.9, 2)
    assert find(sha256="c", ratio=0.9) == (0.9, 2)
    monkeypatch.setattr(int8_speed, "describe_cpu", lambda: "another processor")
    assert find(ratio=0.9) == (0.9, 2)


@pytest.mark.parametrize(("ratio", "runs"), [(0.94, True), (0.96, False)])
def test_the_int8_file_runs_where_it_is_clearly_faster(
    ratio: float, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = FilePair(Path("float32"), Path("int8"), ("a", "b"), 8)
    calls = []

    def measured(*arguments: object) -> float:
        calls.append(arguments)
        return ratio

    monkeypatch.setattr("core.devices.onnx.find_ratio", measured)
    device = OnnxDevice()
    assert device.runs_int8(pair) is runs
    assert device.with_precision("float32").runs_int8(pair) is False
    assert device.with_precision("int8").runs_int8(pair) is True
    assert device.with_precision("auto").runs_int8(pair) is runs
    assert len(calls) == 1


def test_times_of_several_threads_are_elapsed_times() -> None:
    def kind(threads: int) -> type[WorkClock]:
        return type(OnnxDevice(threads=threads)._make_timer())

    assert [kind(1).__name__, kind(2).__name__] == ["CpuClock", "ElapsedClock"]


def test_the_saved_file_holds_ratios_by_key(tmp_path: Path) -> None:
    find()
    saved = json.loads((tmp_path / "cache" / "sparing" / FILE).read_text())
    assert list(saved.values()) == [pytest.approx(0.5)]
