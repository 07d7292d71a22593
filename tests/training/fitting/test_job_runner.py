"""Tasks wait for what they build on, and no longer."""

import io
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from training.fitting.job_runner import Task, train_all

LINE = '{"epoch": 1, "held_out_accuracy": 0.5}'


def make_task(
    name: str, started: list[str], after: tuple[str, ...] = (), fails: bool = False
) -> Task:
    def command() -> Sequence[str]:
        started.append(name)
        return [sys.executable, "-c", "raise SystemExit('no')" if fails else f"print('{LINE}')"]

    return Task(name, 1, command, lambda: False, after)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_task_starts_when_all_it_builds_on_is_finished(tmp_path: Path, workers: int) -> None:
    started: list[str] = []
    make = partial(make_task, started=started)
    tasks = [make("c", after=("a", "b")), make("b", after=("a",)), make("d"), make("a")]
    train_all(tasks, tmp_path, workers=workers, console=quiet())
    assert sorted(started) == ["a", "b", "c", "d"]
    assert started.index("a") < started.index("b") < started.index("c")


def test_what_builds_on_a_failure_never_starts(tmp_path: Path) -> None:
    started: list[str] = []
    tasks = [make_task("a", started, fails=True), make_task("b", started, after=("a",))]
    with pytest.raises(ValueError, match="training of a stopped: no"):
        train_all(tasks, tmp_path, workers=2, console=quiet())
    assert started == ["a"]


def test_a_killed_process_is_a_failure_that_names_the_signal(tmp_path: Path) -> None:
    kill = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"]
    task = Task("a", 1, lambda: kill, lambda: False)
    with pytest.raises(ValueError, match=r"training of a stopped: ended by signal 9 \(all"):
        train_all([task], tmp_path, workers=1, console=quiet())


def quiet() -> Console:
    return Console(file=io.StringIO())
