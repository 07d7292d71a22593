"""The loop that trains every net: seeded, resumable after every epoch, with a report of each epoch.

Checkpoints are safetensors and JSON, never pickles. Everything random in an epoch follows from
(seed, epoch), so a resumed training repeats an uninterrupted one. The job supplies the net, the
batches and the loss.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Report = Callable[[dict[str, object]], None]
OnStep = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One net and how it learns."""

    name: str
    net: nn.Module
    recipe: str  # all that decides the weights, as one line
    seed: int
    epochs: int
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[float], float]  # at that many epochs
    steps: int  # of an epoch
    batches: Callable[[np.random.Generator], Iterator[tuple[Tensor, ...]]]  # of an epoch
    loss: Callable[..., Tensor]  # of a batch's tensors
    judge: Callable[[], float]  # on held-out pictures; higher is better
    clip_norm: float = math.inf  # the largest norm of a step's gradient


def train(job: Job, folder: Path, report: Report, on_step: OnStep | None = None) -> float:
    """Train to the last epoch, continuing from the folder's checkpoint where there is one, and
    write `<folder>/<name>.safetensors`, the weights, and `<name>.json`, a summary. Returns the
    seconds that it took, of all attempts. `on_step` gets each step's epochs done, with their
    fraction, and its loss. Raises ValueError for a checkpoint of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{job.name}.checkpoint.safetensors"
    done, seconds = _resume(checkpoint, job)
    goodness = 0.0
    for epoch in range(done, job.epochs):
        started = time.perf_counter()
        loss = _train_epoch(job, epoch, on_step)
        seconds += time.perf_counter() - started
        _save_checkpoint(checkpoint, job, epoch + 1, seconds)
        goodness = job.judge()
        report(
            {
                "net": job.name,
                "epoch": epoch + 1,
                "epochs": job.epochs,
                "loss": round(loss, 4),
                "held_out_accuracy": round(goodness, 4),
                "seconds": round(seconds, 1),
            }
        )
    weights = {name: value.contiguous() for name, value in job.net.state_dict().items()}
    save_file(weights, folder / f"{job.name}.safetensors")
    summary = {
        "net": job.name,
        "recipe": job.recipe,
        "epochs": job.epochs,
        "seed": job.seed,
        "precision": precision(),
        "seconds": round(seconds, 1),
        "held_out_accuracy": job.judge() if done == job.epochs else goodness,
    }
    (folder / f"{job.name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    return seconds


def shuffle(
    rows: int, batch_rows: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """All rows in a random order, a full batch at a time; the rest is left out."""
    order = rng.permutation(rows)
    for start in range(0, rows - batch_rows + 1, batch_rows):
        yield order[start : start + batch_rows]


def learning_rate(epoch: float, epochs: int, *, peak: float, warm_up_epochs: float) -> float:
    """Linear warm-up, then a cosine to zero at the last epoch."""
    warm_up = min(warm_up_epochs, epochs / 5)
    if epoch < warm_up:
        return peak * (epoch + 0.01) / warm_up
    progress = (epoch - warm_up) / max(epochs - warm_up, 1e-9)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def is_finished(name: str, folder: Path, recipe: str) -> bool:
    """Whether the folder holds the net's weights; ValueError when they are another recipe's."""
    found = read_recipe(name, folder)
    if found is None:
        return False
    if found != recipe:
        summary = folder / f"{name}.json"
        raise ValueError(f"{summary} is of another recipe; delete it or choose another folder")
    return (folder / f"{name}.safetensors").exists()


def read_recipe(name: str, folder: Path) -> str | None:
    """The finished net's recipe line; None without a summary, or with half of one, as a full disk
    leaves it."""
    try:
        return str(json.loads((folder / f"{name}.json").read_text())["recipe"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def precision() -> str:
    """bf16 where the CPU multiplies it natively (AMX), else fp32."""
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"


def _train_epoch(job: Job, epoch: int, on_step: OnStep | None) -> float:
    """The mean loss."""
    rng = np.random.default_rng([job.seed, epoch])
    torch.manual_seed(job.seed * 1_000_003 + epoch)
    total = 0.0
    job.net.train()
    for step, batch in enumerate(job.batches(rng)):
        for group in job.optimizer.param_groups:
            rate = job.learning_rate(epoch + step / job.steps)
            group["lr"] = rate * group.get("rate_factor", 1.0)
        loss = job.loss(*batch)
        job.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if job.clip_norm < math.inf:
            nn.utils.clip_grad_norm_(_trained(job.optimizer), job.clip_norm)
        job.optimizer.step()
        value = float(loss.detach())
        total += value
        if on_step is not None:
            on_step(epoch + (step + 1) / job.steps, value)
    return total / job.steps


def _resume(path: Path, job: Job) -> tuple[int, float]:
    """Epochs done and seconds spent so far; (0, 0.0) without a checkpoint."""
    if not path.exists():
        return 0, 0.0
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to train anew") from error
    state = json.loads(tensors.pop("state").numpy().tobytes())
    if state["recipe"] != job.recipe or "learnt" not in state:
        raise ValueError(f"{path} was made by another recipe; delete it or choose another folder")
    job.net.load_state_dict(
        {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
    )
    for index, parameter in enumerate(_trained(job.optimizer)):
        for key in state["learnt"]:
            if (value := tensors.get(f"{key}.{index}")) is not None:
                job.optimizer.state[parameter][key] = _lay_out_as(parameter, value)
    return state["epoch"], state["seconds"]


def _lay_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory layout, which fused optimizers rely on."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _save_checkpoint(path: Path, job: Job, epoch: int, seconds: float) -> None:
    tensors = {f"net.{name}": value.contiguous() for name, value in job.net.state_dict().items()}
    learnt: set[str] = set()
    for index, parameter in enumerate(_trained(job.optimizer)):
        for key, value in job.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{key}.{index}"] = value.contiguous()
                learnt.add(key)
    state = {"recipe": job.recipe, "epoch": epoch, "seconds": seconds, "learnt": sorted(learnt)}
    tensors["state"] = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
