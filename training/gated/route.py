"""The draft of a gated converter's route: its stages, its gate and how accurate it is.

The gate comes from held-out pictures alone, by `training.choosing.gating`. The test set is used
once, for the provenance.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rich.console import Console

from routes.writing import Table
from training.choosing.gating import (
    SCORE,
    Gate,
    GatedAnswers,
    choose_gate,
    rank_gate,
    read_answers,
    replay_gate,
)
from training.export.converters import run_stage
from training.export.cost import measure_us_per_picture
from training.export.route_writer import RouteDraft, StageFiles, describe_making
from training.gated.experiment import Experiment, identify_nets
from training.gated.stages import Measure, ReadyStage, make_stages, measure_in_turns

SPEED_UP = 6.5  # over LeNet, what gated converter and cascade may cost: the goal is 6
FIRST = ("light", "light-distilled", "encoder-only")  # one of these begins the gated route
AFTER_FIRST = ("guided-converter", "full")
CONVERTER = "guided-converter"


@dataclass(frozen=True, slots=True)
class Parts:
    """An experiment's stages, and the provenance that its routes share."""

    experiment: Experiment
    stages: Mapping[str, ReadyStage]
    making: Table

    @property
    def budget_us(self) -> float:
        """What a picture may cost."""
        return self.stages["lenet"].us_per_picture / SPEED_UP


def prepare_parts(
    experiment: Experiment,
    console: Console,
    making: Table,
    *,
    measure: Measure = measure_us_per_picture,
    more: Iterable[ReadyStage] = (),
    replaced: Mapping[str, ReadyStage] = MappingProxyType({}),
) -> Parts:
    """All stages exported, checked and timed. `more`: further stages; `replaced`: stages in the
    place of those of the same name.
    """
    with console.status("exporting and timing"):
        stages = {stage.name: stage for stage in [*make_stages(experiment), *more]}
        timed = measure_in_turns(stages | dict(replaced), measure)
    return Parts(
        experiment, timed, {**describe_making(), "nets": identify_nets(experiment), **making}
    )


def draft_gated(parts: Parts, name: str) -> RouteDraft:
    """The route `<data>-<name>`: a light net first, hard pictures converted, the full net where the
    gate refuses.
    """
    data = parts.experiment.data
    first, gate = choose_first_and_gate(parts)
    stages = [parts.stages[one] for one in (first, *AFTER_FIRST)]
    held_out = replay_gate(_answers(parts, first, "held_out"), gate)
    test = replay_gate(_answers(parts, first, "test"), gate)
    limits = (gate.light, gate.converted, None)
    return make_draft(
        parts,
        name,
        "cbnet-gated",
        "a light net, the hard pictures converted, a full CNN where the gate refuses",
        [
            stage_files(stage, of, limit)
            for stage, of, limit in zip(stages, ("light", "convert", "full"), limits, strict=True)
        ],
        expected_macs=weigh(held_out.reached, [stage.macs for stage in stages]),
        options={"score": SCORE, "agree": True, "max_distance": gate.max_distance},
        facts={
            "light": first,
            "held_out_accuracy": float((held_out.answers == data.held_out.labels).mean()),
            "test_accuracy": float((test.answers == data.test.labels).mean()),
            "reached_on_test": list(test.reached),
            "us_per_picture": [stage.us_per_picture for stage in stages],
        },
    )


def choose_first_and_gate(parts: Parts) -> tuple[str, Gate]:
    """The light net and the gate that are best on the held-out pictures."""
    labels = parts.experiment.data.held_out.labels
    tried = []
    for first in FIRST:
        answers = _answers(parts, first, "held_out")
        gate = choose_gate(answers, labels, parts.budget_us)
        tried.append((rank_gate(answers, gate, labels, parts.budget_us), first, gate))
    _, first, gate = max(tried, key=lambda one: one[0])
    return first, gate


def make_draft(
    parts: Parts,
    name: str,
    kind: str,
    description: str,
    stages: Sequence[StageFiles],
    *,
    expected_macs: float,
    options: Table,
    facts: Mapping[str, Any],
) -> RouteDraft:
    """The route `<data>-<name>` of any pipeline kind."""
    experiment = parts.experiment
    return RouteDraft(
        route=f"{experiment.data.name}-{name}",
        task=f"{experiment.data.name}-{name}",  # its own: none is as accurate as another
        pipeline=kind,
        description=f"{experiment.data.name}: {description}.",
        expected_macs=expected_macs,
        shape=experiment.data.train.pictures.shape[1:],
        labels=experiment.data.source.labels,
        stages=stages,
        options=options,
        provenance={
            **parts.making,
            "data": experiment.data.name,
            "data_identity": experiment.data.identity,
            "seed": experiment.seed,
            "epochs": experiment.epochs,
            "thresholds_from": f"{len(experiment.data.held_out.labels)} held-out pictures",
            **facts,
        },
    )


def stage_files(stage: ReadyStage, name: str, threshold: float | None) -> StageFiles:
    """A stage of a route; without a threshold, its last one."""
    return StageFiles(name, stage.onnx, stage.description, stage.macs, stage.temperature, threshold)


def weigh(reached: Sequence[float], costs: Sequence[float]) -> float:
    """The mean cost of a picture, given the share that reached each stage."""
    return sum(share * cost for share, cost in zip(reached, costs, strict=True))


def _answers(parts: Parts, first: str, part: str) -> GatedAnswers:
    """The three nets' answers on the held-out or the test pictures."""
    stages = [parts.stages[name] for name in (first, *AFTER_FIRST)]
    pictures = getattr(parts.experiment.data, part).pictures
    light, converted, full = (
        read_answers(getattr(stage, part), stage.temperature) for stage in stages
    )
    return GatedAnswers(
        light,
        converted,
        run_stage(stages[1].onnx, pictures, "distance"),
        full,
        tuple(stage.us_per_picture for stage in stages),
    )
