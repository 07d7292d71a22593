"""Training one net in this process, with a progress bar, or lines where there is no terminal."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file

from training.fitting.loop import Job, is_finished, train

LINES_AN_EPOCH = 10


def learn(job: Job, runs: Path, console: Console) -> None:
    """Train the job's net to its last epoch, or read the weights that an earlier run left."""
    if is_finished(job.name, runs, job.recipe):
        job.net.load_state_dict(load_file(runs / f"{job.name}.safetensors"))
    elif console.is_terminal:
        _train_with_bar(job, runs, console)
    else:
        _train_with_lines(job, runs, console)


def _train_with_bar(job: Job, runs: Path, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), TimeRemainingColumn(),
                  console=console) as progress:  # fmt: skip
        bar = progress.add_task(job.name, total=job.epochs, note="")

        def report(line: dict[str, object]) -> None:
            progress.update(bar, note=f"held-out {line['held_out_accuracy']:.2%}")

        train(job, runs, report, lambda done, _: progress.update(bar, completed=done))


def _train_with_lines(job: Job, runs: Path, console: Console) -> None:
    """For a log file: ten lines an epoch."""
    each = max(1, job.steps // LINES_AN_EPOCH)
    started, steps, recent = time.perf_counter(), 0, 0.0

    def say(text: str) -> None:
        console.print(f"{job.name}: {text}", highlight=False, soft_wrap=True)
        console.file.flush()

    def report(line: dict[str, object]) -> None:
        say(
            f"epoch {line['epoch']} of {line['epochs']}, loss {line['loss']}, "
            f"held-out {line['held_out_accuracy']:.2%}, {line['seconds']} s in all"
        )

    def on_step(done: float, loss: float) -> None:
        nonlocal started, steps, recent
        steps, recent = steps + 1, recent + loss
        if steps == each:
            epoch_s = (time.perf_counter() - started) / steps * job.steps
            say(f"{done:.2f} epochs, loss {recent / steps:.4f}, {epoch_s:.0f} s an epoch")
            started, steps, recent = time.perf_counter(), 0, 0.0

    train(job, runs, report, on_step)
