"""The study's training: every net trained under one budget, every candidate written as a route.

`sparing compare` trains and then measures the routes. An interrupted training resumes: finished
nets are kept, the others go on from their last epoch.
"""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from core.errors import ModelDirectoryError
from core.manifest import read_manifest
from studies.converters.nets import NETS
from studies.converters.routes import draft
from training.export.cost import measure_us_per_picture
from training.export.route_writer import write_route
from training.gated.experiment import Experiment, identify_nets, open_experiment, train_nets
from training.gated.nets import truncated_net
from training.gated.route import prepare_parts
from training.gated.stages import Measure, make_stage

CANDIDATES = (
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


def train_study(
    data: str,
    runs: Path,
    *,
    seed: int,
    epochs: int | None,
    workers: int = 2,
    console: Console,
) -> Mapping[str, Path]:
    """Train the nets that are not finished in `<runs>/<data>/seed<seed>`, write the routes that are
    missing in its folder `models`, and return each candidate's route directory.
    """
    experiment = open_study(data, runs, seed=seed, epochs=epochs)
    train_nets(experiment, "studies.converters.nets", workers, console)
    return write_routes(experiment, console)


def open_study(data: str, runs: Path, *, seed: int, epochs: int | None) -> Experiment:
    """The study's nets of one seed. Raises ValueError for data that they cannot take."""
    return open_experiment(data, runs, NETS, seed=seed, epochs=epochs)


def write_routes(
    experiment: Experiment, console: Console, measure: Measure = measure_us_per_picture
) -> Mapping[str, Path]:
    """The candidates' routes in `<folder>/models`. Routes that hold these nets already are kept."""
    models = experiment.folder / "models"
    nets = identify_nets(experiment)
    kept = {name: _find_newest(models / f"{experiment.data.name}-{name}") for name in CANDIDATES}
    routes = {name: path for name, path in kept.items() if path and _is_of(path, nets)}
    if len(routes) < len(CANDIDATES):
        truncated = make_stage(
            experiment, "truncated", truncated_net(experiment), trained="branchynet"
        )
        making = {"recipe": "studies.converters"}
        parts = prepare_parts(experiment, console, making, measure=measure, more=[truncated])
        for name in CANDIDATES:
            routes[name] = write_route(models, draft(parts, name))
    return routes


def _find_newest(route: Path) -> Path | None:
    versions = [path for path in route.glob("*") if path.name.isdecimal()]
    return max(versions, key=lambda path: int(path.name), default=None)


def _is_of(route: Path, nets: str) -> bool:
    try:
        return read_manifest(route).provenance.get("nets") == nets
    except ModelDirectoryError:
        return False
