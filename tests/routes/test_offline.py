"""The row-by-row runner: follows stages, adds up cost, frees states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.devices.onnx import OnnxDevice
from core.messages import Batch, Next, Outcome, StateHandle, Step
from routes.offline import run_offline


@dataclass
class Countdown:
    """Adds one a step until the row's number is reached; keeps a handle meanwhile."""

    name: str = "step"
    made: list[StateHandle] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def run(self, rows: Batch) -> Sequence[Step]:
        self.batches.append(len(rows.states))
        left = int(rows.inputs["left"][0])
        answer = Outcome({"left": np.array(left)}, 0.5, self.name)
        if left == 0:
            return [Step(3, answer, None)]
        if left < 0:
            return [Step(3, None, None)]
        handle = StateHandle(object(), 8)
        self.made.append(handle)
        return [Step(3, answer, Next(self.name, {"left": np.array(left - 1)}, handle))]


@dataclass
class Loop:
    stage: Countdown
    digest: bytes = b""
    first: str = "step"

    @property
    def stages(self) -> dict[str, Countdown]:
        return {"step": self.stage}


def test_every_row_runs_alone_until_it_is_done_and_its_cost_adds_up() -> None:
    stage = Countdown()
    rows = run_offline(Loop(stage), {"left": np.array([0, 2, 1])}, OnnxDevice())
    assert [row.macs for row in rows] == [3, 9, 6]
    assert [len(row.stages) for row in rows] == [1, 3, 2]
    assert [row.outcome.outputs["left"] for row in rows if row.outcome] == [0, 0, 0]
    assert set(stage.batches) == {1}


def test_every_state_is_freed() -> None:
    stage = Countdown()
    run_offline(Loop(stage), {"left": np.array([3, 2])}, OnnxDevice())
    assert len(stage.made) == 5
    assert all(handle.value is None for handle in stage.made)


def test_a_failed_row_has_no_outcome_and_its_neighbours_have() -> None:
    rows = run_offline(Loop(Countdown()), {"left": np.array([1, -1, 1])}, OnnxDevice())
    assert [row.outcome is None for row in rows] == [False, True, False]
