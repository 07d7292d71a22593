"""The comparison's routes: one directory a contestant, thresholds from held-out pictures alone.

Nets come from `contest_nets`, ready stages from `contest_stages`, thresholds of the gated converter
and of the control cascade from `gating`. The test set is looked at once, for provenance.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.choosing.exit_thresholds import choose_plan
from training.choosing.gating import (
    SCORE,
    Gate,
    Outcome,
    Trio,
    choose_gate,
    choose_threshold,
    rank_gate,
    read_answers,
    replay_cascade,
    replay_gate,
)
from training.choosing.replay import replay
from training.contest_nets import Studio
from training.contest_stages import PARITY_ROWS, ReadyStage, score_stage
from training.export.converters import run_stage
from training.export.cost import count_macs
from training.export.exits import check_segments, export_segments, run_segments
from training.export.route_writer import RouteDraft, StageFiles, Table
from training.nets.exit_net import ExitNet

SPEED_UP = 6.5  # over LeNet, what gated converter and cascade may cost: the goal is 6
FIRST = ("light", "light-distilled", "encoder-only")  # of these one begins the gated route
BEHIND = ("guided-converter", "full")
DUAL = ("light-distilled", "small")
NETS_OF: Mapping[str, str] = {"cbnet": "guided-converter", "cbnet-dense": "converter"}
DESCRIPTIONS: Mapping[str, str] = {
    "lenet": "LeNet, the papers' baseline",
    "truncated": "B-LeNet up to its first exit, on pictures as they are",
    "mlp": "linear layers with the MACs of cbnet-dense",
    "light": "a light CNN",
    "light-distilled": "the light CNN, taught by the full one",
    "small": "a small CNN",
    "branchynet": "LeNet with an early exit, left where it is sure",
    "cbnet": "every picture converted to an easy one, then the light CNN",
    "cbnet-dense": "converted by the papers' dense autoencoder, then B-LeNet's first exit",
    "encoder-only": "the converter's encoder and a linear layer",
    "cbnet-gated": "a light net, the hard pictures converted, a full CNN where the gate refuses",
    "dual": "the light CNN, then the small one where it is unsure",
    "plain-encoder": "encoder-only's net, which never was a converter's, learnt as long as both",
    "light-full": "the gated converter's light and full nets without the converter",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """All that the drafts are made of."""

    studio: Studio
    stages: Mapping[str, ReadyStage]
    making: Table

    @property
    def budget_us(self) -> float:
        return self.stages["lenet"].us_per_picture / SPEED_UP


def draft(bench: Bench, contestant: str) -> RouteDraft:
    """What the contestant's route says beside its files."""
    match contestant:
        case "branchynet":
            return _draft_branchynet(bench)
        case "dual":
            return _draft_cascade(bench, contestant, DUAL)
        case "light-full":
            first, _ = _choose_gated(bench)
            return _draft_cascade(bench, contestant, (first, BEHIND[1]))
        case "cbnet-gated":
            return draft_gated(bench, contestant)
        case "cbnet" | "cbnet-dense":
            return _draft_single(bench, contestant, "cbnet", "convert")
        case "encoder-only":
            return _draft_single(bench, contestant, "encoder-only", "encoder")
    return _draft_single(bench, contestant, "single", contestant)


def _draft_single(bench: Bench, contestant: str, kind: str, name: str) -> RouteDraft:
    """One net that answers everything."""
    stage = bench.stages[NETS_OF.get(contestant, contestant)]
    return _draft(
        bench,
        contestant,
        kind,
        [_stage_files(stage, name, None)],
        expected_macs=stage.macs,
        options={"score": SCORE},
        facts={**score_stage(stage, bench.studio), "us_per_picture": [stage.us_per_picture]},
    )


def _draft_cascade(bench: Bench, contestant: str, names: tuple[str, str]) -> RouteDraft:
    """A control: the second net where the first is unsure, at the gated converter's cost."""
    stages = [bench.stages[name] for name in names]
    data = bench.studio.data
    costs = [stage.us_per_picture for stage in stages]
    held_out = [read_answers(stage.held_out, stage.temperature) for stage in stages]
    threshold = choose_threshold(held_out, data.held_out.labels, costs, bench.budget_us)
    right, reached = replay_cascade(held_out, data.held_out.labels, costs, threshold)
    test = [read_answers(stage.test, stage.temperature) for stage in stages]
    test_right, test_reached = replay_cascade(test, data.test.labels, costs, threshold)
    return _draft(
        bench,
        contestant,
        "dual-cnn",
        [
            _stage_files(stage, name, limit)
            for stage, name, limit in zip(stages, names, (threshold, None), strict=True)
        ],
        expected_macs=_mean(reached, [stage.macs for stage in stages]),
        options={"score": SCORE, "combine": "last"},
        facts={
            "held_out_accuracy": right,
            "test_accuracy": test_right,
            "reached_on_test": list(test_reached),
            "us_per_picture": costs,
        },
    )


def draft_gated(bench: Bench, contestant: str) -> RouteDraft:
    """A light net first, the hard pictures converted, the full net where the gate refuses."""
    labels = bench.studio.data.held_out.labels
    first, gate = _choose_gated(bench)
    stages = [bench.stages[name] for name in (first, *BEHIND)]
    chosen = replay_gate(_trio(bench, first, "held_out"), gate)
    seen = replay_gate(_trio(bench, first, "test"), gate)
    limits = (gate.light, gate.converted, None)
    return _draft(
        bench,
        contestant,
        "cbnet-gated",
        [
            _stage_files(stage, name, limit)
            for stage, name, limit in zip(stages, ("light", "convert", "full"), limits, strict=True)
        ],
        expected_macs=_mean(chosen.reached, [stage.macs for stage in stages]),
        options={"score": SCORE, "agree": True, "max_distance": gate.max_distance},
        facts={
            "light": first,
            "held_out_accuracy": _accuracy(chosen, labels),
            "test_accuracy": _accuracy(seen, bench.studio.data.test.labels),
            "reached_on_test": list(seen.reached),
            "us_per_picture": [stage.us_per_picture for stage in stages],
        },
    )


def _choose_gated(bench: Bench) -> tuple[str, Gate]:
    """Which light net and which gate, as the held-out pictures say."""
    labels = bench.studio.data.held_out.labels
    tried = []
    for first in FIRST:
        trio = _trio(bench, first, "held_out")
        gate = choose_gate(trio, labels, bench.budget_us)
        tried.append((rank_gate(trio, gate, labels, bench.budget_us), first, gate))
    _, first, gate = max(tried, key=lambda one: one[0])
    return first, gate


def _draft_branchynet(bench: Bench) -> RouteDraft:
    """LeNet with the papers' exit, left where that costs next to no accuracy on held-out pictures;
    the papers' own entropies come from other trainings.
    """
    studio, data = bench.studio, bench.studio.data
    net = studio.load("branchynet")
    assert isinstance(net, ExitNet)
    paths = [studio.folder / f"branchynet.exit-{index}.onnx" for index in (1, 2)]
    export_segments(net, paths, data.train.pictures.shape[1:])
    check_segments(net, paths, data.held_out.pictures[:PARITY_ROWS])
    macs = [count_macs(path) for path in paths]
    exits = run_segments(paths, data.held_out.pictures)
    plan = choose_plan(exits, data.held_out.labels, macs)
    held_out = replay(exits, data.held_out.labels, plan)
    test = replay(run_segments(paths, data.test.pictures), data.test.labels, plan)
    summary = json.loads((studio.folder / "branchynet.json").read_text())
    return _draft(
        bench,
        "branchynet",
        "exits",
        [
            StageFiles(
                f"exit-{index}", path, {"segment": index, **summary}, cost, temperature, threshold
            )
            for index, path, cost, temperature, threshold in zip(
                (1, 2), paths, macs, plan.temperatures, (*plan.thresholds, None), strict=True
            )
        ],
        expected_macs=held_out.mean(macs),
        options={"score": plan.score},
        facts={
            "held_out_accuracy": held_out.accuracy,
            "test_accuracy": test.accuracy,
            "reached_on_test": list(test.reached),
        },
    )


def _trio(bench: Bench, first: str, part: str) -> Trio:
    """What the gate's nets say of held-out or test pictures."""
    stages = [bench.stages[name] for name in (first, *BEHIND)]
    pictures = getattr(bench.studio.data, part).pictures
    light, converted, full = (
        read_answers(getattr(stage, part), stage.temperature) for stage in stages
    )
    return Trio(
        light,
        converted,
        run_stage(stages[1].onnx, pictures, "distance"),
        full,
        tuple(stage.us_per_picture for stage in stages),
    )


def _draft(
    bench: Bench,
    contestant: str,
    kind: str,
    stages: Sequence[StageFiles],
    *,
    expected_macs: float,
    options: Table,
    facts: Mapping[str, Any],
) -> RouteDraft:
    studio = bench.studio
    return RouteDraft(
        route=f"{studio.data.name}-{contestant}",
        task=f"{studio.data.name}-{contestant}",  # its own: none is as accurate as another
        pipeline=kind,
        description=f"{studio.data.name}: {DESCRIPTIONS[contestant]}.",
        expected_macs=expected_macs,
        shape=studio.data.train.pictures.shape[1:],
        labels=studio.data.source.labels,
        stages=stages,
        options=options,
        provenance={
            **bench.making,
            "data": studio.data.name,
            "data_identity": studio.data.identity,
            "recipe": "training.contest",
            "seed": studio.seed,
            "epochs": studio.epochs,
            "thresholds_from": f"{len(studio.data.held_out.labels)} held-out pictures",
            **facts,
        },
    )


def _stage_files(stage: ReadyStage, name: str, threshold: float | None) -> StageFiles:
    return StageFiles(name, stage.onnx, stage.description, stage.macs, stage.temperature, threshold)


def _mean(reached: Sequence[float], costs: Sequence[float]) -> float:
    return sum(share * cost for share, cost in zip(reached, costs, strict=True))


def _accuracy(outcome: Outcome, labels: Any) -> float:
    return float((outcome.answers == labels).mean())
