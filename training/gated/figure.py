"""A figure of hard pictures before and after conversion."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.fitting.hardness import entropy_nats
from training.gated.experiment import Experiment
from training.gated.nets import find_nats, truncated_net
from training.nets.converter import Converter
from training.nets.predicting import predict
from training.reporting.figures import draw_pictures

Pictures = npt.NDArray[np.uint8]


def draw_conversions(experiment: Experiment, path: Path, nets: Mapping[str, Converter]) -> Path:
    """Draw held-out pictures before conversion and after it by each of `nets`, and return `path`.

    Of each class these are the hardest picture that the first net converts so that the light net
    is right, and the hardest where it is wrong. A class without such a picture has an empty place.
    """
    held_out = experiment.data.held_out
    (logits,) = predict(truncated_net(experiment), held_out.pictures)
    nats = entropy_nats(logits)
    (answers,) = predict(next(iter(nets.values())), held_out.pictures)
    right = answers.argmax(axis=1) == held_out.labels
    hard = nats >= find_nats(experiment.data)
    chosen = _choose(held_out.labels, nats, right & hard, experiment.classes)
    missed = _choose(held_out.labels, nats, ~right, experiment.classes)
    rows: dict[str, npt.NDArray[np.generic]] = {}
    for kind, picked in (("hard", chosen), ("hard, missed", missed)):
        pictures = held_out.pictures[picked]
        empty = (picked < 0)[:, None, None]
        rows[kind] = np.where(empty, np.nan, pictures)
        for row, net in nets.items():
            name = f"{row}{'' if picked is chosen else ' '}"
            rows[name] = np.where(empty, np.nan, convert(net, pictures))
    title = f"{experiment.data.name}: hard held-out pictures before and after conversion"
    draw_pictures(rows, experiment.data.source.labels, title, path)
    return path


def load_converter(experiment: Experiment, name: str) -> Converter:
    """A trained converter of the experiment."""
    net = experiment.load(name)
    assert isinstance(net, Converter)
    return net


def convert(net: Converter, pictures: Pictures) -> npt.NDArray[np.float32]:
    """The converted pictures [N, H, W] in [0, 1]."""
    with torch.inference_mode():
        converted: npt.NDArray[np.float32] = net.autoencoder(torch.from_numpy(pictures)).numpy()
    return converted


def _choose(
    labels: npt.NDArray[np.int64],
    nats: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.bool_],
    classes: int,
) -> npt.NDArray[np.int64]:
    """Of each class the wanted row with the most entropy; -1 where none is wanted."""
    ranks = [np.where(wanted & (labels == label), nats, -1.0) for label in range(classes)]
    return np.array([rank.argmax() if rank.max() > -1.0 else -1 for rank in ranks], np.int64)
