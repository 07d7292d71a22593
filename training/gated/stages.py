"""An experiment's trained nets as stages: exported, checked against torch, MACs counted, timed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from core.classifiers.scores import fit_temperature
from training.choosing.replay import accuracy
from training.export.converters import check_stage, export_classifier, export_converter, run_stage
from training.export.cost import count_macs, measure_us_per_picture
from training.export.onnx_graph import Floats
from training.gated.experiment import Experiment
from training.gated.nets import make_targets
from training.nets.converter import Converter

ROUNDS = 5
COST_BATCH = 32
PARITY_ROWS = 1_000

Logits = npt.NDArray[np.float32]
Measure = Callable[[Path, Sequence[int]], Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class ReadyStage:
    """One net as a stage, and its logits on the held-out and the test pictures."""

    name: str
    onnx: Path
    description: Mapping[str, Any]  # Any: JSON
    macs: int
    temperature: float
    us_per_picture: float  # batched; 0 before it is measured
    held_out: Logits
    test: Logits


def make_stages(experiment: Experiment) -> Iterator[ReadyStage]:
    """Every net that is one stage. BranchyNet is not: each of its segments is a stage."""
    for name in experiment.nets:
        if name != "branchynet":
            kind = experiment.nets[name].targets
            references = make_targets(experiment, kind).references if kind else None
            yield make_stage(experiment, name, experiment.load(name), references=references)


def measure_in_turns(
    stages: Mapping[str, ReadyStage], measure: Measure = measure_us_per_picture
) -> dict[str, ReadyStage]:
    """The stages with their times: the fastest of several rounds, in each of which every stage has
    its turn.
    """
    rounds = [
        {name: measure(stage.onnx, (COST_BATCH,))[COST_BATCH] for name, stage in stages.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: replace(stage, us_per_picture=min(times[name] for times in rounds))
        for name, stage in stages.items()
    }


def make_stage(
    experiment: Experiment,
    name: str,
    net: nn.Module,
    *,
    references: Floats | None = None,
    trained: str | None = None,
) -> ReadyStage:
    """A net as a stage, not yet timed. `references`: the targets of a converter; `trained`: the net
    that it is a part of.
    """
    onnx = experiment.folder / f"{name}.onnx"
    if isinstance(net, Converter):
        assert references is not None, "converters have targets"
        export_converter(net, references, onnx, experiment.size)
    else:
        export_classifier(net, onnx, experiment.size)
    data = experiment.data
    check_stage(net, onnx, data.held_out.pictures[:PARITY_ROWS])
    held_out = run_stage(onnx, data.held_out.pictures)
    summary = json.loads((experiment.folder / f"{trained or name}.json").read_text())
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return ReadyStage(
        name=name,
        onnx=onnx,
        description={"parameters": parameters, **summary},
        macs=count_macs(onnx),
        temperature=fit_temperature(held_out, data.held_out.labels),
        us_per_picture=0.0,
        held_out=held_out,
        test=run_stage(onnx, data.test.pictures),
    )


def score_stage(stage: ReadyStage, experiment: Experiment) -> dict[str, float]:
    """The accuracy of the net alone."""
    return {
        "held_out_accuracy": accuracy(stage.held_out, experiment.data.held_out.labels),
        "test_accuracy": accuracy(stage.test, experiment.data.test.labels),
    }
