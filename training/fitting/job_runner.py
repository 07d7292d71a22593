"""A job runner: trains nets in processes of one thread each, with a progress bar for each.

A task's command prints one JSON line an epoch. A task starts when all tasks that it builds on are
finished. When one fails, all stop; they resume from their checkpoints later.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@dataclass(frozen=True, slots=True)
class Task:
    """One net's training."""

    name: str
    epochs: int
    command: Callable[[], Sequence[str]]  # asked for when it starts
    is_finished: Callable[[], bool]  # asked when all it builds on is there
    after: tuple[str, ...] = ()  # names of tasks that must be finished first


def train_all(
    tasks: Sequence[Task], folder: Path, *, workers: int, console: Console | None = None
) -> None:
    """Run every task to its last epoch, in the given order as far as dependencies allow.

    Finished tasks are kept. Raises ValueError that names the task that failed, and why. Raises
    KeyboardInterrupt where a process received Ctrl-C or SIGTERM: these go to all processes of a
    group, and a child may handle them first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _progress(console) as progress, ThreadPoolExecutor(workers) as executor:
        runner = _JobRunner(folder, progress)
        bars = {
            task.name: progress.add_task(task.name, total=task.epochs, start=False, note="waiting")
            for task in tasks
        }
        waiting, done = list(tasks), set[str]()
        running: dict[Future[None], str] = {}
        try:
            while waiting or running:
                for task in [one for one in waiting if done.issuperset(one.after)]:
                    if len(running) < workers:
                        waiting.remove(task)
                        running[executor.submit(runner.train, task, bars[task.name])] = task.name
                assert running, (
                    f"{[task.name for task in waiting]} wait for tasks that do not exist"
                )
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    done.add(running.pop(future))
        finally:
            runner.stop()


class _JobRunner:
    """Starts the processes and follows them."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._stopped = Event()
        self._running: list[subprocess.Popen[str]] = []

    def stop(self) -> None:
        self._stopped.set()
        for process in self._running:
            process.terminate()

    def train(self, task: Task, bar: TaskID) -> None:
        if self._stopped.is_set():
            return
        if task.is_finished():
            self._progress.update(bar, completed=task.epochs, note="kept")
            return
        log = self._folder / f"{task.name}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                task.command(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self._running.append(process)
        if self._stopped.is_set():  # set between the check above and the append
            process.terminate()
        self._follow(process, bar)
        code = process.wait()
        if code == 0 or self._stopped.is_set():
            return
        if -code in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        last = (log.read_text().strip() or "it printed nothing").splitlines()[-1]
        reason = f"ended by signal {-code}" if code < 0 else last
        raise ValueError(f"training of {task.name} stopped: {reason} (all of it is in {log})")

    def _follow(self, process: subprocess.Popen[str], bar: TaskID) -> None:
        """Move the bar at every JSON line until the process closes its output."""
        assert process.stdout is not None
        started = False
        with process.stdout as lines:
            for text in lines:
                line = json.loads(text)
                if not started:  # epochs of an earlier run say nothing about the speed of this one
                    self._progress.update(bar, completed=line["epoch"] - 1)
                    self._progress.start_task(bar)
                    started = True
                note = f"held-out {line['held_out_accuracy']:.2%}"
                self._progress.update(bar, completed=line["epoch"], note=note)


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description:>15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=900,
    )
