"""The recipe of early exits: a net with exits, deeply supervised, as a route `<data>-exits`.

After BranchyNet (arXiv 1709.01686): B-LeNet begins with the trained main path, as there; nets of
the pools learn all exits at once, or begin with weights of their own. Thresholds come from held-out
pictures; the test set is used once. An interrupted training resumes in the same `runs` folder.
"""

import hashlib
import math
from pathlib import Path

import torch
from rich.console import Console

from training.data.sets import DataSet, load_data
from training.export.exit_route import LENET, Options, make_route
from training.export.route_writer import write_route
from training.fitting.budget import EPOCHS, job
from training.fitting.in_process import learn
from training.nets.exit_backbone import ExitSpec, add_exits, check_places, choose_places
from training.nets.exit_net import ExitNet
from training.nets.lenet import EXIT_WEIGHTS, PAPER_NATS, branchynet, lenet
from training.nets.pools import find_pool, find_spec

COLOUR_EPOCHS = 24
PLACES = {"cnn-8m": (1, 3), "cnn-36m": (2, 3)}  # nets with better places than the default ones


def train(
    data: str,
    out: Path,
    runs: Path,
    *,
    options: Options,
    seed: int = 1,
    epochs: int | None = None,
    threads: int = 1,
    console: Console | None = None,
) -> Path:
    """Train, choose thresholds and write the route `<data>-exits` in `out`; its directory.

    Raises ValueError in one sentence for unusable data, options or folders of another recipe.
    """
    torch.set_num_threads(threads)
    data_set = load_data(data)
    if data_set.train.pictures.ndim != 3 and options.net == LENET:
        raise ValueError(f"{LENET} takes grey pictures, those of {data} have colours")
    if options.papers_thresholds and (options.net != LENET or data not in PAPER_NATS):
        raise ValueError(f"the papers have thresholds for {LENET} on {sorted(PAPER_NATS)} only")
    if not 0 <= options.max_loss <= 1:
        raise ValueError(
            f"accuracy that early exits may cost: {options.max_loss} given, 0 to 1 allowed"
        )
    epochs = epochs or EPOCHS.get(data) or COLOUR_EPOCHS
    console = console or Console()
    if options.net == LENET:
        net = _learn_lenet(data_set, runs, options, seed=seed, epochs=epochs, console=console)
    else:
        net = _learn_pool_net(data_set, runs, options, seed=seed, epochs=epochs, console=console)
    with console.status("exporting, choosing thresholds"):
        draft = make_route(net, data_set, runs, options)
    return write_route(out, draft)


def _learn_lenet(
    data: DataSet, runs: Path, options: Options, *, seed: int, epochs: int, console: Console
) -> ExitNet:
    """The main path first, then both exits from its weights."""
    if options.after or options.trained or options.frozen:
        raise ValueError(
            f"{LENET} has the papers' exit and trains from scratch: no --after, --weights, --frozen"
        )
    weights = _weigh(options, EXIT_WEIGHTS)
    classes = len(data.source.labels)
    torch.manual_seed(seed)
    main = job(LENET, lenet(classes), data, seed=seed, epochs=epochs)
    learn(main, runs, console)
    assert isinstance(main.net, ExitNet)
    torch.manual_seed(seed)
    branchy = branchynet(main.net, classes)
    learn(
        job(
            options.name,
            branchy,
            data,
            seed=seed,
            epochs=epochs,
            weights=weights,
            self_distillation=options.self_distillation,
            recipe=f"from {LENET}",
        ),
        runs,
        console,
    )
    return branchy


def _learn_pool_net(
    data: DataSet, runs: Path, options: Options, *, seed: int, epochs: int, console: Console
) -> ExitNet:
    try:
        backbone = find_spec(options.net, find_pool(data.name))
    except ValueError as error:
        raise ValueError(f"{error}; or choose lenet, the papers' net") from None
    places = options.after or PLACES.get(options.net) or choose_places(backbone)
    spec = ExitSpec(backbone, check_places(backbone, places))
    if options.frozen and options.trained is None:
        raise ValueError("a frozen trunk needs trained weights: give --weights")
    torch.manual_seed(seed)
    net = add_exits(spec, data, trained=options.trained, frozen=options.frozen)
    begun = "scratch"
    if options.trained is not None:
        begun = hashlib.sha256(options.trained.read_bytes()).hexdigest()[:16]
    learn(
        job(
            options.name,
            net,
            data,
            seed=seed,
            epochs=epochs,
            weights=_weigh(options, (1.0,) * len(net.heads)),
            self_distillation=options.self_distillation,
            recipe=f"{spec} from {begun} frozen={options.frozen}",
        ),
        runs,
        console,
    )
    return net


def _weigh(options: Options, usual: tuple[float, ...]) -> tuple[float, ...]:
    weights = options.weights or usual
    if (
        len(weights) != len(usual)
        or not all(0 <= one < math.inf for one in weights)
        or not any(weights)
    ):
        raise ValueError(
            f"weights of exits: {list(weights)} given, {len(usual)} are needed: "
            "numbers from 0 on, and not all 0"
        )
    return weights
