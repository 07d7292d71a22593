"""Runs a route without a server: row by row, stage by stage, without queue, batch or clock.

Slow and simple: the reference for tests of the engine, and the trial run at loading.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.classifiers.last_stage_entry import find_last_stage_entry, wants_last_stage
from core.devices.interface import Device
from core.messages import (
    NO_CONTROLS,
    Array,
    Batch,
    Control,
    Outcome,
    Pipeline,
    StateHandle,
    Step,
)
from core.parameters import make_column
from routes.walk import walk


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """The result of one row: its answer (None: it failed), its cost and the stages it ran."""

    outcome: Outcome | None
    macs: int
    stages: tuple[str, ...]
    steps: tuple[Step, ...]


def run_offline(
    pipeline: Pipeline,
    inputs: Mapping[str, Array],
    device: Device,
    controls: Mapping[str, Control] = NO_CONTROLS,
) -> list[OfflineRow]:
    """Run each row by itself until it is done; the inputs' leading dimension is rows. `controls`
    hold every parameter that the route declares (`core.parameters.find_defaults`).
    """
    rows = len(next(iter(inputs.values())))
    return [
        _run_row(pipeline, {name: array[row] for name, array in inputs.items()}, device, controls)
        for row in range(rows)
    ]


def _run_row(
    pipeline: Pipeline,
    inputs: Mapping[str, Array],
    device: Device,
    controls: Mapping[str, Control],
) -> OfflineRow:
    entry = pipeline.first
    direct = find_last_stage_entry(pipeline)
    if direct is not None and wants_last_stage(controls):
        entry, inputs = direct.stage, {**inputs, **direct.inputs}
    outcome: Outcome | None = None
    stages: list[str] = []
    steps: list[Step] = []
    columns = {name: make_column([value], [1]) for name, value in controls.items()}

    def run(stage: str, inputs: Mapping[str, Array], state: StateHandle | None) -> Step:
        collated = {name: device.collate([array]) for name, array in inputs.items()}
        (step,) = pipeline.stages[stage].run(Batch(collated, columns, [state]))
        return step

    for stage, step in walk(entry, inputs, run):
        stages.append(stage)
        steps.append(step)
        outcome = step.answer if step.next is None or step.answer is not None else outcome
    return OfflineRow(outcome, sum(step.macs for step in steps), tuple(stages), tuple(steps))
