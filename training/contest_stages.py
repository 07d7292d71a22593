"""The comparison's trained nets made ready for routes: exported, held to torch, counted, timed.

Which net is trained how, `contest_nets` knows; which stages make which route, `contest_routes`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from core.scores import fit_temperature
from training.choosing.replay import accuracy
from training.contest_nets import NETS, Studio, choose_goals, truncated_net
from training.export.converters import check_stage, export_classifier, export_converter, run_stage
from training.export.cost import count_macs, measure_us_per_picture
from training.export.onnx_graph import Floats
from training.nets.converter import Converter

ROUNDS = 5
COST_BATCH = 32
PARITY_ROWS = 1_000

Logits = npt.NDArray[np.float32]
Measure = Callable[[Path, Sequence[int]], Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class ReadyStage:
    """One net as a stage, and what it says of the held-out pictures and of the test set."""

    name: str
    onnx: Path
    description: Mapping[str, Any]  # Any: JSON
    macs: int
    temperature: float
    us_per_picture: float  # batched; 0 before it is measured
    held_out: Logits
    test: Logits


def make_stages(studio: Studio) -> Iterator[ReadyStage]:
    """Every net that is a whole stage by itself; BranchyNet's segments are not."""
    for name in NETS:
        if name != "branchynet":
            kind = NETS[name].targets
            references = choose_goals(studio, kind).references if kind else None
            yield make_stage(studio, name, studio.load(name), references=references)
    yield make_stage(studio, "truncated", truncated_net(studio), trained="branchynet")


def measure_in_turns(
    stages: Mapping[str, ReadyStage], measure: Measure = measure_us_per_picture
) -> dict[str, ReadyStage]:
    """The stages with their times: of rounds in which each has its turn the least disturbed."""
    rounds = [
        {name: measure(stage.onnx, (COST_BATCH,))[COST_BATCH] for name, stage in stages.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: replace(stage, us_per_picture=min(times[name] for times in rounds))
        for name, stage in stages.items()
    }


def make_stage(
    studio: Studio,
    name: str,
    net: nn.Module,
    *,
    references: Floats | None = None,
    trained: str | None = None,
) -> ReadyStage:
    """A net ready but for its time. `references`: where a converter's conversions go; `trained`:
    the net that it is a part of.
    """
    onnx = studio.folder / f"{name}.onnx"
    if isinstance(net, Converter):
        assert references is not None, "converters have targets"
        export_converter(net, references, onnx, studio.size)
    else:
        export_classifier(net, onnx, studio.size)
    data = studio.data
    check_stage(net, onnx, data.held_out.pictures[:PARITY_ROWS])
    held_out = run_stage(onnx, data.held_out.pictures)
    summary = json.loads((studio.folder / f"{trained or name}.json").read_text())
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


def score_stage(stage: ReadyStage, studio: Studio) -> dict[str, float]:
    """How often the net alone is right."""
    return {
        "held_out_accuracy": accuracy(stage.held_out, studio.data.held_out.labels),
        "test_accuracy": accuracy(stage.test, studio.data.test.labels),
    }
