"""The reference is what gate and learners themselves compute."""

import torch

from tokens.acm.gate import Gate
from tokens.acm.kernels import reference
from tokens.acm.learners import Learners, LearnerSpec


def test_each_row_gets_the_sum_of_its_prefix() -> None:
    torch.manual_seed(0)
    for gelu in (True, False):
        learners = Learners(LearnerSpec(6, 5, 4, 3, gelu))
        torch.nn.init.normal_(learners.bias)
        x_RD, chosen_R = torch.randn(5, 6), torch.tensor([2, 0, 4, 1, 3])
        y_RE = reference.run_learners(learners, x_RD, chosen_R)
        assert y_RE.dtype == torch.float64
        for row, count in enumerate(chosen_R.tolist()):
            expected = learners.prefix(x_RD[row : row + 1], count)[0].double()
            torch.testing.assert_close(y_RE[row], expected, rtol=1e-5, atol=1e-6)


def test_logits_are_the_gates() -> None:
    torch.manual_seed(0)
    gate, x_BTD, beta_B = Gate(6, 4, 1), torch.randn(3, 7, 6), torch.tensor([0.1, 0.5, 1.0])
    logits = reference.gate_rows(gate, x_BTD.flatten(0, 1), beta_B)
    expected = gate(x_BTD, beta_B).flatten(0, 1).double()
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_rows_of_one_choice_keep_their_order() -> None:
    rows_R, chosen_R = reference.sort_rows(torch.tensor([1, 0, 3, 1, 3]))
    assert rows_R.tolist() == [2, 4, 0, 3, 1]
    assert chosen_R.tolist() == [3, 3, 1, 1, 0]
