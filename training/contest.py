"""The contest: every net of the comparison trained under one budget, every contestant a route.

What the nets are, `contest_nets` knows; `sparing compare` measures the routes. It can be
interrupted: finished nets are kept, the others go on from their last epoch.
"""

import hashlib
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from core.errors import ModelDirectoryError
from core.manifest import read_manifest
from training.contest_nets import NETS, Studio
from training.contest_routes import Bench, draft
from training.contest_stages import Measure, ReadyStage, make_stages, measure_in_turns
from training.data.sets import load_data
from training.export.cost import measure_us_per_picture
from training.export.route_writer import describe_making, write_route
from training.fitting.job_runner import Task, train_all

CONTESTANTS = (
    "lenet",
    "branchynet",
    "truncated",
    "mlp",
    "light",
    "light-distilled",
    "small",
    "cbnet",
    "cbnet-gated",
    "encoder-only",
    "dual",
    "cbnet-dense",
    "plain-encoder",
    "light-full",
)
EPOCHS: Mapping[str, int] = {
    "mnist": 8,
    "fashion-mnist": 12,
}  # three seeds of all nets on two cores
REPOSITORY = Path(__file__).parent.parent


def train_contest(
    data: str,
    runs: Path,
    *,
    seed: int,
    epochs: int | None,
    workers: int = 2,
    console: Console,
) -> Mapping[str, Path]:
    """Train what is not trained yet in `<runs>/<data>/seed<seed>` and write what is not written:
    each contestant's route directory, there under `models`.
    """
    studio = open_studio(data, runs, seed=seed, epochs=epochs)
    train_nets(studio, workers, console)
    return write_routes(studio, console)


def open_studio(data: str, runs: Path, *, seed: int, epochs: int | None) -> Studio:
    """Where this contest's nets are made; ValueError for data that the nets cannot take."""
    if epochs is None and data not in EPOCHS:
        raise ValueError(f"no contest of {data!r} is planned; there are {sorted(EPOCHS)}")
    data_set = load_data(data)
    shape = data_set.train.pictures.shape[1:]
    if shape != (28, 28):
        raise ValueError(f"{data} has pictures of {list(shape)}, the nets take 28 x 28 grey ones")
    return Studio(data_set, runs / data / f"seed{seed}", seed, epochs or EPOCHS[data])


def train_nets(studio: Studio, workers: int, console: Console) -> None:
    """Bring every net to its last epoch, each in a process of its own."""
    tasks = [
        Task(
            name,
            studio.epochs * made.budgets,
            partial(_command, studio, name),
            partial(studio.is_finished, name),
            made.after,
        )
        for name, made in NETS.items()
    ]
    train_all(tasks, studio.folder, workers=workers, console=console)


def write_routes(
    studio: Studio, console: Console, measure: Measure = measure_us_per_picture
) -> Mapping[str, Path]:
    """The contestants' routes in `<folder>/models`; kept where they are of these nets already."""
    models = studio.folder / "models"
    nets = identify_nets(studio)
    kept = {name: _find_newest(models / f"{studio.data.name}-{name}") for name in CONTESTANTS}
    routes = {name: path for name, path in kept.items() if path and _is_of(path, nets)}
    if len(routes) < len(CONTESTANTS):
        bench = open_bench(studio, console, measure)
        for name in CONTESTANTS:
            routes[name] = write_route(models, draft(bench, name))
    return routes


def open_bench(
    studio: Studio,
    console: Console,
    measure: Measure = measure_us_per_picture,
    instead: Mapping[str, ReadyStage] = MappingProxyType({}),
) -> Bench:
    """All stages exported, checked and timed; `instead`: others in the place of these."""
    with console.status("exporting and timing"):
        ready = {stage.name: stage for stage in make_stages(studio)} | dict(instead)
        stages = measure_in_turns(ready, measure)
    making = {**describe_making(REPOSITORY), "nets": identify_nets(studio)}
    return Bench(studio, stages, making)


def _find_newest(route: Path) -> Path | None:
    versions = [path for path in route.glob("*") if path.name.isdecimal()]
    return max(versions, key=lambda path: int(path.name), default=None)


def _is_of(route: Path, nets: str) -> bool:
    try:
        return read_manifest(route).provenance.get("nets") == nets
    except ModelDirectoryError:
        return False


def identify_nets(studio: Studio) -> str:
    """A hash over all nets' weights."""
    digest = hashlib.sha256()
    for name in NETS:
        digest.update((studio.folder / f"{name}.safetensors").read_bytes())
    return digest.hexdigest()


def _command(studio: Studio, name: str) -> list[str]:
    options = {
        "--data": studio.data.name,
        "--net": name,
        "--folder": str(studio.folder),
        "--seed": str(studio.seed),
        "--epochs": str(studio.epochs),
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "training.contest_nets", *words]
