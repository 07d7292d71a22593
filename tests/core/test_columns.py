"""Columns: the rows that are taken, steps as columns and back, answers of different kinds."""

import numpy as np
import pytest

from core.columns import Onward, Steps, as_steps, stack_outcomes, take_rows
from core.messages import Next, Outcome, Outcomes, StateHandle, Step


@pytest.mark.parametrize(
    "places", [[0], [3, 4, 5], [3, 5, 4, 6], [2, 2, 4], [5, 4, 3], [0, 2], range(2, 6), [1, 1]]
)
@pytest.mark.parametrize("as_list", [False, True])
def test_rows_are_taken_in_the_given_order_also_twice(places: list[int], as_list: bool) -> None:
    column = np.arange(20).reshape(10, 2)
    taken = take_rows(list(column) if as_list else column, places)
    assert np.array_equal(np.asarray(taken), column[list(places)])


def test_rows_that_follow_each_other_are_not_copied() -> None:
    column = np.arange(10)
    assert take_rows(column, [3, 4, 5]).base is column
    assert take_rows(column, range(3, 6)).base is column


def make_rows() -> list[Step]:
    state = StateHandle("tokens", 8)
    first, second = (
        Outcome({"y": np.array([value, value])}, value / 10, exit)
        for value, exit in ((1.0, "one"), (2.0, "two"))
    )
    return [
        Step(3, first, None),
        Step(4, None, Next("two", {"x": np.array(5.0)}, state)),
        Step(5, None, None),
        Step(6, second, Next("two", {"x": np.array(7.0)})),
    ]


def test_steps_become_columns_and_rows_again() -> None:
    rows = make_rows()
    columns = as_steps(rows)
    assert as_steps(columns) is columns
    for step, other in zip(rows, columns, strict=True):
        assert step.macs == other.macs
        assert (step.answer is None) == (other.answer is None)
        if step.answer is not None and other.answer is not None:
            assert step.answer.outputs["y"].tolist() == other.answer.outputs["y"].tolist()
            assert step.answer[1:] == other.answer[1:]
        assert (step.next is None) == (other.next is None)
        if step.next is not None and other.next is not None:
            assert step.next.inputs == other.next.inputs
            assert step.next.state is other.next.state


def test_answers_of_different_sizes_stay_a_list() -> None:
    answers = [Outcome({"y": np.zeros(size)}, 0.5, "one") for size in (1, 2)]
    stacked = stack_outcomes(answers)
    assert isinstance(stacked.outputs["y"], list)
    assert [stacked.row(at).outputs["y"].shape for at in (0, 1)] == [(1,), (2,)]


def test_columns_of_a_stage_read_as_rows() -> None:
    answers = Outcomes({"y": np.arange(3)}, np.array([0.1, 0.2, 0.3]), 0, ("only",))
    onward = Onward("next", np.array([0, 2]), {"x": np.array([7, 9])})
    steps = Steps(3, 5, answers, np.array([True, True, False]), [onward])
    assert [step.answer and int(step.answer.outputs["y"]) for step in steps] == [0, 1, None]
    assert [step.next and int(step.next.inputs["x"]) for step in steps] == [7, None, 9]
    assert [step.macs for step in steps[1:]] == [5, 5]
