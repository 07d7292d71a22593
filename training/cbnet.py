"""The recipe of the converting autoencoder: `<data>-cbnet`, gated, and all that it must beat.

After CBNet (arXiv 2403.07036) and its authors' own successor (arXiv 2404.13770). The nets are the
contest's, trained under one budget; the route that is shipped is the contest's gated converter
under the data set's name. An interrupted training goes on in the same `runs` folder.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from core.manifest import read_manifest
from training.contest import open_studio, train_contest
from training.contest_nets import Studio, find_nats, truncated_net
from training.export.route_reader import read_draft
from training.export.route_writer import RouteDraft, write_route
from training.fitting.hardness import entropy_nats
from training.nets.converter import Converter
from training.nets.predicting import predict
from training.own_converter import Wishes, draft_own, train_own
from training.reporting.figures import draw_pictures

CONTESTS = Wishes()
FIGURES = Path("docs/reports/img")
SHIPPED = "cbnet-gated"
CONVERTERS = {"converted": "guided-converter", "by the dense one": "converter"}

Pictures = npt.NDArray[np.uint8]


def train(
    data: str,
    out: Path,
    runs: Path,
    *,
    workers: int = 2,
    seed: int = 1,
    epochs: int | None = None,
    figures: Path | None = None,
    wishes: Wishes = CONTESTS,
) -> Path:
    """Train the contest of one seed, write its routes into `runs` and the gated converter as
    `<data>-cbnet` into `out`; its directory.

    `epochs` overrides every net's number, for trying the recipe out; the figure of such a trial
    goes to `runs`, that of a full training to `docs/reports/img`, or to `figures` where it is
    given. With `wishes` of one's own the converter is another than the contest's, and its figure
    goes to `runs`. Raises ValueError in one sentence for unusable data or folders of another
    recipe.
    """
    console = Console()
    studio = open_studio(data, runs, seed=seed, epochs=epochs)
    routes = train_contest(data, runs, seed=seed, epochs=epochs, workers=workers, console=console)
    for contestant, route in routes.items():
        accuracy = read_manifest(route).provenance["test_accuracy"]
        console.print(f"{contestant:>16}  {accuracy:.2%} on test", highlight=False)
    if wishes == CONTESTS:
        draft = read_draft(routes[SHIPPED])
        folder = figures or (studio.folder if epochs else FIGURES)
        picture = draw_conversions(studio, folder / f"{data}-converted.png")
    else:
        net = train_own(studio, wishes, console)
        draft = draft_own(studio, wishes, net, console)
        accuracy = draft.provenance["test_accuracy"]
        console.print(f"{wishes.name:>16}  {accuracy:.2%} on test, gated", highlight=False)
        picture = (figures or studio.folder) / f"{data}-{wishes.name}.png"
        draw_conversions(studio, picture, {"converted": net})
    console.print(f"wrote {picture}", soft_wrap=True)
    return ship(draft, f"{data}-cbnet", out)


def ship(draft: RouteDraft, name: str, out: Path) -> Path:
    """The same route under another name, its next version, for its own task."""
    return write_route(out, replace(draft, route=name, task=name))


def draw_conversions(
    studio: Studio, path: Path, nets: Mapping[str, Converter] | None = None
) -> Path:
    """Of each class the hardest held-out picture that is converted rightly and the hardest that is
    not, before and after, by `nets`, else by the contest's; nothing where a class has none.
    """
    held_out = studio.data.held_out
    (logits,) = predict(truncated_net(studio), held_out.pictures)
    nats = entropy_nats(logits)
    nets = nets or {row: _load(studio, name) for row, name in CONVERTERS.items()}
    (answers,) = predict(nets["converted"], held_out.pictures)
    right = answers.argmax(axis=1) == held_out.labels
    hard = nats >= find_nats(studio.data)
    chosen = _choose(held_out.labels, nats, right & hard, studio.classes)
    missed = _choose(held_out.labels, nats, ~right, studio.classes)
    rows: dict[str, npt.NDArray[np.generic]] = {}
    for kind, picked in (("hard", chosen), ("hard, missed", missed)):
        pictures = held_out.pictures[picked]
        nobody = (picked < 0)[:, None, None]
        rows[kind] = np.where(nobody, np.nan, pictures)  # shown as nothing
        for row, net in nets.items():
            name = f"{row}{'' if picked is chosen else ' '}"
            rows[name] = np.where(nobody, np.nan, convert(net, pictures))
    title = f"{studio.data.name}: hard held-out pictures before and after conversion"
    draw_pictures(rows, studio.data.source.labels, title, path)
    return path


def _load(studio: Studio, name: str) -> Converter:
    net = studio.load(name)
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
