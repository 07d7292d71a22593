"""The study's routes: one a candidate, with thresholds from held-out pictures alone.

The test set is used once, for the provenance.
"""

import json
from collections.abc import Mapping

from training.choosing.exit_thresholds import choose_plan
from training.choosing.gating import SCORE, choose_threshold, read_answers, replay_cascade
from training.choosing.replay import replay
from training.export.cost import count_macs
from training.export.exits import check_segments, export_segments, run_segments
from training.export.route_writer import RouteDraft, StageFiles
from training.gated.route import (
    AFTER_FIRST,
    Parts,
    choose_first_and_gate,
    draft_gated,
    make_draft,
    stage_files,
    weigh,
)
from training.gated.stages import PARITY_ROWS, score_stage
from training.nets.exit_net import ExitNet

DUAL = ("light-distilled", "small")
NETS_OF: Mapping[str, str] = {"cbnet": "guided-converter", "cbnet-dense": "converter"}
DESCRIPTIONS: Mapping[str, str] = {
    "lenet": "LeNet, the papers' baseline",
    "truncated": "B-LeNet up to its first exit, on pictures as they are",
    "mlp": "linear layers with the MACs of cbnet-dense",
    "light": "a light CNN",
    "light-distilled": "the light CNN, taught by the full one",
    "small": "a small CNN",
    "branchynet": "LeNet with an early exit",
    "cbnet": "every picture converted to an easy one, then the light CNN",
    "cbnet-dense": "converted by the papers' dense autoencoder, then B-LeNet's first exit",
    "encoder-only": "the converter's encoder and a linear layer",
    "dual": "the light CNN, then the small one where it is unsure",
    "plain-encoder": "encoder-only's net from scratch, with the epochs of both its trainings",
    "light-full": "the gated converter's light and full nets without the converter",
}


def draft(parts: Parts, candidate: str) -> RouteDraft:
    """The candidate's route."""
    match candidate:
        case "branchynet":
            return _draft_branchynet(parts)
        case "dual":
            return _draft_cascade(parts, candidate, DUAL)
        case "light-full":
            first, _ = choose_first_and_gate(parts)
            return _draft_cascade(parts, candidate, (first, AFTER_FIRST[1]))
        case "cbnet-gated":
            return draft_gated(parts, candidate)
        case "cbnet" | "cbnet-dense":
            return _draft_single(parts, candidate, "cbnet", "convert")
        case "encoder-only":
            return _draft_single(parts, candidate, "encoder-only", "encoder")
    return _draft_single(parts, candidate, "single", candidate)


def _draft_single(parts: Parts, candidate: str, kind: str, name: str) -> RouteDraft:
    """One net for every picture."""
    stage = parts.stages[NETS_OF.get(candidate, candidate)]
    return make_draft(
        parts,
        candidate,
        kind,
        DESCRIPTIONS[candidate],
        [stage_files(stage, name, None)],
        expected_macs=stage.macs,
        options={"score": SCORE},
        facts={**score_stage(stage, parts.experiment), "us_per_picture": [stage.us_per_picture]},
    )


def _draft_cascade(parts: Parts, candidate: str, names: tuple[str, str]) -> RouteDraft:
    """A control: the second net where the first is unsure, within the gated converter's budget."""
    stages = [parts.stages[name] for name in names]
    data = parts.experiment.data
    costs = [stage.us_per_picture for stage in stages]
    held_out = [read_answers(stage.held_out, stage.temperature) for stage in stages]
    threshold = choose_threshold(held_out, data.held_out.labels, costs, parts.budget_us)
    right, reached = replay_cascade(held_out, data.held_out.labels, costs, threshold)
    test = [read_answers(stage.test, stage.temperature) for stage in stages]
    test_right, test_reached = replay_cascade(test, data.test.labels, costs, threshold)
    return make_draft(
        parts,
        candidate,
        "dual-cnn",
        DESCRIPTIONS[candidate],
        [
            stage_files(stage, name, limit)
            for stage, name, limit in zip(stages, names, (threshold, None), strict=True)
        ],
        expected_macs=weigh(reached, [stage.macs for stage in stages]),
        options={"score": SCORE, "combine": "last"},
        facts={
            "held_out_accuracy": right,
            "test_accuracy": test_right,
            "reached_on_test": list(test_reached),
            "us_per_picture": costs,
        },
    )


def _draft_branchynet(parts: Parts) -> RouteDraft:
    """LeNet with the papers' exit. The threshold costs next to no accuracy on held-out pictures;
    the papers' own thresholds come from other trainings.
    """
    experiment, data = parts.experiment, parts.experiment.data
    net = experiment.load("branchynet")
    assert isinstance(net, ExitNet)
    paths = [experiment.folder / f"branchynet.exit-{index}.onnx" for index in (1, 2)]
    export_segments(net, paths, data.train.pictures.shape[1:])
    check_segments(net, paths, data.held_out.pictures[:PARITY_ROWS])
    macs = [count_macs(path) for path in paths]
    exits = run_segments(paths, data.held_out.pictures)
    plan = choose_plan(exits, data.held_out.labels, macs)
    held_out = replay(exits, data.held_out.labels, plan)
    test = replay(run_segments(paths, data.test.pictures), data.test.labels, plan)
    summary = json.loads((experiment.folder / "branchynet.json").read_text())
    return make_draft(
        parts,
        "branchynet",
        "exits",
        DESCRIPTIONS["branchynet"],
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
