"""Training one net in this process, with a progress bar."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file

from training.fitting.loop import Job, is_finished, train


def learn(job: Job, runs: Path, console: Console) -> None:
    """Train the job's net to its last epoch, or read the weights that an earlier run left."""
    if is_finished(job.name, runs, job.recipe):
        job.net.load_state_dict(load_file(runs / f"{job.name}.safetensors"))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), TimeRemainingColumn(),
                  console=console) as progress:  # fmt: skip
        bar = progress.add_task(job.name, total=job.epochs, note="")

        def report(line: dict[str, object]) -> None:
            note = f"held-out {line['held_out_accuracy']:.2%}"
            progress.update(bar, completed=int(str(line["epoch"])), note=note)

        train(job, runs, report)
