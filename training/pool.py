"""Train a pool's members as processes of one thread each, biggest first, a progress bar for each.

Members that an earlier run finished with the same recipe are kept, interrupted ones go on from
their last epoch. What a member's training is, `training.fit` knows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
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

from training.data import DataSet
from training.fit import recipe_of
from training.loop import is_finished
from training.nets import NetSpec

Command = Callable[[NetSpec], Sequence[str]]


def train_pool(
    pool: Sequence[NetSpec],
    data: DataSet,
    runs: Path,
    *,
    workers: int,
    seed: int,
    epochs: int | None = None,
    command: Command | None = None,
    console: Console | None = None,
) -> None:
    """Bring every member to its last epoch in `runs`. ValueError tells which failed and why."""
    runs.mkdir(parents=True, exist_ok=True)
    command = command or _fit_command(data.name, runs, seed, epochs)
    with _progress(console) as progress, ThreadPoolExecutor(workers) as executor:
        crew = _Crew(runs, progress)
        futures = []
        try:
            for spec in reversed(pool):  # pools are listed from small to big
                total = epochs or spec.epochs
                bar = progress.add_task(spec.name, total=total, start=False, note="waiting")
                if is_finished(spec.name, runs, recipe_of(spec, data, seed=seed, epochs=total)):
                    progress.update(bar, completed=total, note="kept")
                else:
                    futures.append(executor.submit(crew.train, spec.name, command(spec), bar))
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            crew.stop()
        for future in done:
            future.result()


class _Crew:
    """The processes at work; when one fails all stop, to go on from their checkpoints later."""

    def __init__(self, runs: Path, progress: Progress) -> None:
        self._runs = runs
        self._progress = progress
        self._stopped = Event()
        self._running: list[subprocess.Popen[str]] = []

    def stop(self) -> None:
        self._stopped.set()
        for process in self._running:
            process.terminate()

    def train(self, name: str, command: Sequence[str], bar: TaskID) -> None:
        if self._stopped.is_set():
            return
        log = self._runs / f"{name}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self._running.append(process)
        if self._stopped.is_set():  # set between the check above and the append
            process.terminate()
        self._follow(process, bar)
        if process.wait() != 0 and not self._stopped.is_set():
            last = (log.read_text().strip() or "it said nothing").splitlines()[-1]
            raise ValueError(f"training of {name} stopped: {last} (all of it is in {log})")

    def _follow(self, process: subprocess.Popen[str], bar: TaskID) -> None:
        """Move the bar at every JSON line until the process closes its output."""
        assert process.stdout is not None
        started = False
        with process.stdout as lines:
            for text in lines:
                line = json.loads(text)
                if not started:  # a resumed net's earlier epochs tell nothing about today's speed
                    self._progress.update(bar, completed=line["epoch"] - 1)
                    self._progress.start_task(bar)
                    started = True
                note = f"held-out {line['held_out_accuracy']:.2%}"
                self._progress.update(bar, completed=line["epoch"], note=note)


def _fit_command(data: str, runs: Path, seed: int, epochs: int | None) -> Command:
    def command(spec: NetSpec) -> Sequence[str]:
        options = ["--data", data, "--net", spec.name, "--folder", str(runs), "--seed", str(seed)]
        if epochs is not None:
            options += ["--epochs", str(epochs)]
        return [sys.executable, "-m", "training.fit", *options]

    return command


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=900,
    )
