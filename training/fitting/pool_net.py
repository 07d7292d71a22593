"""Train one net of a pool; progress as JSON lines on stdout.

Run as a process of its own (`python -m training.fitting.pool_net`), one thread each: two processes
of one thread train a pool faster than one of two. The loop itself, with its checkpoints, is in
`training.fitting.loop`.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.choosing.replay import accuracy
from training.data.augment import augment
from training.data.sets import DataSet, load_data
from training.fitting.loop import Job, Report, learning_rate, precision, shuffle, train
from training.nets.building import build_net
from training.nets.pools import Classifier, NetSpec, find_pool, find_spec
from training.nets.predicting import predict

BATCH_ROWS = 128
WEIGHT_DECAY = 5e-4
PEAK_LEARNING_RATE = 0.1
WARM_UP_EPOCHS = 2.0


def fit(
    spec: NetSpec,
    data: DataSet,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    report: Report,
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

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in shuffle(len(data.train.pictures), BATCH_ROWS, rng):
            pictures = augment(data.train.pictures[rows], rng, erase=spec.erase)
            yield torch.from_numpy(pictures), torch.from_numpy(data.train.labels[rows])

    def loss(pictures: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bf16"):
            logits = net(pictures)
        return nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=spec.label_smoothing
        )

    job = Job(
        name=spec.name,
        net=net,
        recipe=recipe_of(spec, data, seed=seed, epochs=epochs),
        seed=seed,
        epochs=epochs,
        optimizer=optimizer,
        learning_rate=rate_over(epochs),
        steps=len(data.train.pictures) // BATCH_ROWS,
        batches=batches,
        loss=loss,
        judge=lambda: accuracy(predict(net, data.held_out.pictures)[-1], data.held_out.labels),
    )
    train(job, folder, report)
    return net


def rate_over(epochs: int) -> Callable[[float], float]:
    """The learning rate at an epoch."""
    return partial(
        learning_rate, epochs=epochs, peak=PEAK_LEARNING_RATE, warm_up_epochs=WARM_UP_EPOCHS
    )


def recipe_of(spec: NetSpec, data: DataSet, *, seed: int, epochs: int) -> str:
    """All that decides the weights, as one line: two runs with the same line give the same net."""
    return f"{spec} seed={seed} epochs={epochs} batch={BATCH_ROWS} data={data.identity}"


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
    spec = find_spec(options.net, find_pool(data.name))
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
