"""Costs are medians of rounds, joules come from a meter, and a deadline ends the rounds."""

import itertools

import numpy as np
import pytest

from importing.onnx_files.graphs import open_graph
from importing.stage_files import StageFile
from importing.timing import COST_BATCH, ROUNDS, Deadline, measure_costs
from tests.fakes.own_models import make_linear

ROWS = {"features": np.ones((4, 8), np.float32)}


def _make_stages() -> dict[str, StageFile]:
    model = make_linear()
    graph = open_graph(model)
    raw = model.SerializeToString()
    return {
        name: StageFile(name, raw, graph.inputs, graph.outputs, 0, 0, True, "", ())
        for name in ("a", "b")
    }


def test_a_row_costs_its_share_of_a_batch_and_its_joules() -> None:
    joules = itertools.count(0.0, 0.064)
    costs = measure_costs(_make_stages(), ROWS, turn_s=0, read_j=lambda: next(joules))
    assert set(costs) == {"a", "b"}
    for cost in costs.values():
        assert cost.us > 0
        assert cost.mj == pytest.approx(64 / COST_BATCH)
        assert cost.rounds == ROUNDS


def test_without_a_meter_there_are_no_joules() -> None:
    assert measure_costs(_make_stages(), ROWS, turn_s=0)["a"].mj is None


@pytest.mark.parametrize(("minutes", "rounds"), [(1.0, 2), (0.5, 1), (None, ROUNDS)])
def test_a_deadline_ends_the_rounds_after_the_first(minutes: float | None, rounds: int) -> None:
    seconds = itertools.count(0.0, 30.0)
    deadline = Deadline.after(minutes, lambda: next(seconds))
    costs = measure_costs(_make_stages(), ROWS, turn_s=0, deadline=deadline)
    assert [cost.rounds for cost in costs.values()] == [rounds, rounds]
