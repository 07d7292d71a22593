"""A trained net with exits as a route: exported, checked, thresholds chosen, evaluated on test.

The recipe `training.exits` trains it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.choosing.exit_thresholds import MAX_LOSS, choose_plan, papers_plan
from training.choosing.replay import Plan, accuracy, replay
from training.data.sets import DataSet
from training.export.cost import batch_limit, count_macs, measure_us_per_picture
from training.export.exits import check_segments, export_segments, run_segments
from training.export.route_writer import RouteDraft, StageFiles, describe_making
from training.nets.exit_net import ExitNet
from training.nets.lenet import PAPER_NATS

LENET = "lenet"
DEFAULT_NET = "cnn-8m"
COST_BATCH = 32
PARITY_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a training."""

    net: str = DEFAULT_NET
    after: tuple[int, ...] = ()  # exits after these layers; none: the net's default places
    weights: tuple[float, ...] = ()  # of the exits' losses, the last one's too; none: 1 each
    trained: Path | None = None  # safetensors of the backbone to begin with
    frozen: bool = False  # only the new exits learn
    self_distillation: bool = False
    max_loss: float = MAX_LOSS
    papers_thresholds: bool = False

    @property
    def name(self) -> str:
        return f"{self.net}-exits"


def make_route(net: ExitNet, data: DataSet, runs: Path, options: Options) -> RouteDraft:
    """Export the trained net into `runs`, check it, choose its thresholds, evaluate it on test."""
    name = options.name
    paths = [runs / f"{name}.exit-{index + 1}.onnx" for index in range(len(net.heads))]
    export_segments(net, paths, data.train.pictures.shape[1:])
    check_segments(net, paths, data.held_out.pictures[:PARITY_ROWS])
    macs = [count_macs(path) for path in paths]
    exits = run_segments(paths, data.held_out.pictures)
    if options.papers_thresholds:
        plan = papers_plan([PAPER_NATS[data.name]], len(data.source.labels))
    else:
        plan = choose_plan(exits, data.held_out.labels, macs, max_loss=options.max_loss)
    held_out = replay(exits, data.held_out.labels, plan)
    tested = run_segments(paths, data.test.pictures)
    test = replay(tested, data.test.labels, plan)
    summary = json.loads((runs / f"{name}.json").read_text())
    costs_us = [measure_us_per_picture(path, (COST_BATCH,))[COST_BATCH] for path in paths]
    return RouteDraft(
        route=f"{data.name}-exits",
        task=f"{data.name}-exits",  # its own: less accurate than other routes of the data
        pipeline="exits",
        description=f"{data.name}, {options.net} with {len(paths) - 1} early exits.",
        expected_macs=held_out.mean(macs),
        shape=data.train.pictures.shape[1:],
        labels=data.source.labels,
        stages=_list_stages(paths, summary, macs, plan, costs_us),
        options={"score": plan.score},
        provenance={
            **describe_making(),
            "data": data.name,
            "data_identity": data.identity,
            "recipe": "training.exits",
            "seed": summary["seed"],
            "epochs": summary["epochs"],
            "training_precision": summary["precision"],
            "thresholds_from": f"{len(data.held_out.labels)} held-out pictures",
            "held_out_accuracy": held_out.accuracy,
            "test_accuracy": test.accuracy,
            "test_accuracy_of_exits": [accuracy(one, data.test.labels) for one in tested],
            "reached_on_test": list(test.reached),
            "us_per_picture": costs_us,
        },
    )


def _list_stages(
    paths: Sequence[Path],
    summary: dict[str, Any],  # anything that JSON can hold
    macs: Sequence[int],
    plan: Plan,
    costs_us: Sequence[float],
) -> list[StageFiles]:
    return [
        StageFiles(
            f"exit-{index + 1}",
            path,
            {"segment": index + 1, **summary},
            macs[index],
            plan.temperatures[index],
            [*plan.thresholds, None][index],
            max_batch=batch_limit(costs_us[index]),
        )
        for index, path in enumerate(paths)
    ]
