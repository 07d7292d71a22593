"""Train one net of a pool: seeded, resumable after every epoch, progress as JSON lines on stdout.

Run as a process of its own (`python -m training.fit`), one thread each: two processes of one thread
train a pool faster than one of two. Checkpoints are safetensors and JSON, never pickles. Everything
random in an epoch follows from (seed, epoch), so a resumed run repeats an uninterrupted one.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.augment import augment
from training.data import DataSet, Split, load_data
from training.nets import POOLS, Classifier, NetSpec, Whiten, find_spec, whiten

BATCH_ROWS = 128
WEIGHT_DECAY = 5e-4
PEAK_LEARNING_RATE = 0.1
WARM_UP_EPOCHS = 2.0
WHITENING_ROWS = 5_000


def build_net(spec: NetSpec, data: DataSet) -> Classifier:
    """The untrained net for this data set's picture size, classes and statistics."""
    source = data.source
    net = Classifier(
        spec,
        size=data.train.pictures.shape[1],
        classes=len(source.labels),
        mean=source.mean,
        std=source.std,
    )
    if isinstance(spec.layers[0], Whiten):
        whiten(net, torch.from_numpy(data.train.pictures[:WHITENING_ROWS]))
        _begin_as_identity(net)
    return net


def fit(
    spec: NetSpec,
    data: DataSet,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    report: Callable[[dict[str, object]], None],
) -> Classifier:
    """Train to the last epoch, continuing from `folder`'s checkpoint when there is one.

    Writes `<folder>/<name>.safetensors` (weights), then `<name>.json` (accuracy, seconds, recipe).
    Raises ValueError when the checkpoint was made with another recipe.
    """
    torch.manual_seed(seed)
    net = build_net(spec, data)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        [parameter for parameter in net.parameters() if parameter.requires_grad],
        lr=PEAK_LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )
    checkpoint = folder / f"{spec.name}.checkpoint.safetensors"
    recipe = recipe_of(spec, data, seed=seed, epochs=epochs)
    done, seconds = _resume(checkpoint, recipe, net, optimizer)
    for epoch in range(done, epochs):
        started = time.perf_counter()
        loss = _train_epoch(net, optimizer, data.train, spec, seed, epoch, epochs)
        seconds += time.perf_counter() - started
        _save_checkpoint(checkpoint, recipe, net, optimizer, epoch + 1, seconds)
        accuracy = _accuracy(net, data.held_out)
        report(
            {
                "net": spec.name,
                "epoch": epoch + 1,
                "epochs": epochs,
                "loss": round(loss, 4),
                "held_out_accuracy": round(accuracy, 4),
                "seconds": round(seconds, 1),
            }
        )
    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(weights, folder / f"{spec.name}.safetensors")
    summary = {
        "net": spec.name,
        "recipe": recipe,
        "epochs": epochs,
        "seed": seed,
        "precision": _precision(),
        "seconds": round(seconds, 1),
        "held_out_accuracy": _accuracy(net, data.held_out),
    }
    (folder / f"{spec.name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    return net


def recipe_of(spec: NetSpec, data: DataSet, *, seed: int, epochs: int) -> str:
    """All that decides the weights, as one line: two runs with the same line give the same net."""
    return f"{spec} seed={seed} epochs={epochs} batch={BATCH_ROWS} data={data.identity}"


def predict_logits(net: Classifier, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits [N, classes] in float32, in batches."""
    net.eval()
    with torch.inference_mode():
        parts = [net(torch.from_numpy(pictures[i : i + 500])) for i in range(0, len(pictures), 500)]
    logits: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def _train_epoch(
    net: Classifier,
    optimizer: torch.optim.Optimizer,
    train: Split,
    spec: NetSpec,
    seed: int,
    epoch: int,
    epochs: int,
) -> float:
    rng = np.random.default_rng([seed, epoch])
    torch.manual_seed(seed * 1_000_003 + epoch)
    order = rng.permutation(len(train.pictures))
    steps = len(order) // BATCH_ROWS
    total = 0.0
    net.train()
    for step in range(steps):
        rows = order[step * BATCH_ROWS : (step + 1) * BATCH_ROWS]
        pictures = augment(train.pictures[rows], rng, erase=spec.erase)
        labels = torch.from_numpy(train.labels[rows])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch + step / steps, epochs)
        total += _step(net, optimizer, torch.from_numpy(pictures), labels, spec.label_smoothing)
    return total / steps


def learning_rate(epoch: float, epochs: int) -> float:
    """Linear warm-up, then a cosine to zero at the last epoch."""
    warm_up = min(WARM_UP_EPOCHS, epochs / 5)
    if epoch < warm_up:
        return PEAK_LEARNING_RATE * (epoch + 0.01) / warm_up
    progress = (epoch - warm_up) / max(epochs - warm_up, 1e-9)
    return PEAK_LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * progress))


def _begin_as_identity(net: Classifier) -> None:
    """Each 3x3 convolution passes its inputs on, in its first channels (Jordan, 2404.00498)."""
    for module in net.body.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            nn.init.dirac_(module.weight[: module.in_channels])


def _step(
    net: Classifier,
    optimizer: torch.optim.Optimizer,
    pictures: Tensor,
    labels: Tensor,
    label_smoothing: float,
) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=_precision() == "bf16"):
        logits = net(pictures)
    loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _precision() -> str:
    """bf16 where the CPU multiplies it natively (AMX), else fp32."""
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"


def _accuracy(net: Classifier, split: Split) -> float:
    return float((predict_logits(net, split.pictures).argmax(1) == split.labels).mean())


def _resume(
    path: Path, recipe: str, net: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Epochs done and seconds spent so far; (0, 0.0) without a checkpoint."""
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    state = json.loads(tensors.pop("state").numpy().tobytes())
    if state["recipe"] != recipe:
        raise ValueError(f"{path} was made by another recipe; delete it or choose another folder")
    net.load_state_dict(
        {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
    )
    for index, parameter in enumerate(_trained(optimizer)):
        optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{index}"]
    return state["epoch"], state["seconds"]


def _save_checkpoint(
    path: Path,
    recipe: str,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seconds: float,
) -> None:
    state = json.dumps({"recipe": recipe, "epoch": epoch, "seconds": seconds}).encode()
    tensors = {f"net.{name}": value.contiguous() for name, value in net.state_dict().items()}
    for index, parameter in enumerate(_trained(optimizer)):
        tensors[f"momentum.{index}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    tensors["state"] = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--net", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=None, help="default: the pool's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    data = load_data(options.data)
    spec = find_spec(options.net, POOLS[data.name])
    fit(
        spec,
        data,
        options.folder,
        seed=options.seed,
        epochs=options.epochs or spec.epochs,
        report=lambda line: print(json.dumps(line), flush=True),
    )


if __name__ == "__main__":
    main()
