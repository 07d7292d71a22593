"""Three ways to run chosen learners give the prefix sum, token by token, and say what they ran."""

import pytest
import torch

from tests.product_counter import ProductCounter
from tokens.acm.execution import FORMS, Form, sort_rows
from tokens.acm.learners import Learners, LearnerSpec

SPEC = LearnerSpec(8, 6, 4, 5, gelu=True)
EVERY_FORM = pytest.mark.parametrize("form", list(FORMS))
CHOICES = {
    "mixed": [3, 0, 4, 1, 4, 2, 0, 1, 3],
    "all": [4] * 5,
    "none": [0] * 5,
    "one learner": [1] * 5,
    "no largest": [2, 0, 1],
    "one row": [4],
    "one skipped row": [0],
}


def make_learners() -> Learners:
    torch.manual_seed(0)
    learners = Learners(SPEC)
    torch.nn.init.normal_(learners.bias)
    return learners


def run(form: Form, learners: Learners, x_RD: torch.Tensor, chosen: list[int]) -> torch.Tensor:
    return FORMS[form](learners, x_RD, sort_rows(torch.tensor(chosen), 4)).outputs


@EVERY_FORM
@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES.keys())
def test_each_row_gets_the_prefix_sum_of_its_choice(form: Form, chosen: list[int]) -> None:
    learners, x_RD = make_learners(), torch.randn(len(chosen), 8)
    outputs = run(form, learners, x_RD, chosen)
    for row, count in enumerate(chosen):
        expected = learners.prefix(x_RD[row : row + 1], count)
        torch.testing.assert_close(outputs[row : row + 1], expected)


@EVERY_FORM
def test_the_last_learner_runs_for_the_largest_choice(form: Form) -> None:
    learners, x_RD = make_learners(), torch.randn(3, 8)
    before = run(form, learners, x_RD, [4, 3, 4])
    with torch.no_grad():
        learners.second[-SPEC.hidden :] += 1.0
    changed = (run(form, learners, x_RD, [4, 3, 4]) != before).any(dim=1)
    assert changed.tolist() == [True, False, True]


@EVERY_FORM
def test_a_row_equals_itself_in_any_batch(form: Form) -> None:
    learners, x_RD, chosen = make_learners(), torch.randn(9, 8), CHOICES["mixed"]
    together = run(form, learners, x_RD, chosen)
    turned = run(form, learners, x_RD.flip(0), chosen[::-1]).flip(0)
    alone = [run(form, learners, x_RD[row : row + 1], chosen[row : row + 1]) for row in range(9)]
    torch.testing.assert_close(turned, together)
    torch.testing.assert_close(torch.cat(alone), together)


@EVERY_FORM
@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES.keys())
def test_the_pairs_it_reports_are_those_it_multiplied(form: Form, chosen: list[int]) -> None:
    learners, x_RD = make_learners(), torch.randn(len(chosen), 8)
    order = sort_rows(torch.tensor(chosen), 4)
    with ProductCounter() as counter:
        ran = FORMS[form](learners, x_RD, order)
    assert counter.macs == ran.pairs * SPEC.macs
    assert ran.pairs == (4 * len(chosen) if form == "dense" else sum(chosen))


def test_rows_are_sorted_by_choice_and_skipped_rows_are_left_out() -> None:
    order = sort_rows(torch.tensor([1, 0, 3, 1]), 3)
    assert order.rows.tolist() == [2, 0, 3]
    assert order.counts == (3, 1, 1)


@EVERY_FORM
def test_inputs_are_left_as_they_are(form: Form) -> None:
    learners, x_RD = make_learners(), torch.randn(9, 8)
    before, bias = x_RD.clone(), learners.bias.clone()
    run(form, learners, x_RD, CHOICES["mixed"])
    assert torch.equal(x_RD, before)
    assert torch.equal(learners.bias, bias)
