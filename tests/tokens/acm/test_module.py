"""The module: the same answers in training and evaluation for one choice, gradients, no state."""

import copy

import pytest
import torch

from tokens.acm import module
from tokens.acm.execution import FORMS, Form
from tokens.acm.gate import Choice, Gate
from tokens.acm.learners import Learners, LearnerSpec
from tokens.acm.module import Acm, has_kernels

SPEC = LearnerSpec(8, 8, 4, 5, gelu=True)
BETA = torch.tensor([0.3, 0.8])


def make_module(layers: int = 1, smallest: int = 0) -> Acm:
    torch.manual_seed(0)
    return Acm(Gate(8, 4, smallest), [Learners(SPEC) for _ in range(layers)])


def make_choice(chosen: list[list[int]]) -> Choice:
    return Choice(torch.nn.functional.one_hot(torch.tensor(chosen), 5).float(), 0)


@pytest.mark.parametrize("form", list(FORMS))
def test_training_and_evaluation_agree_on_a_choice(form: Form) -> None:
    module, x_BTD = make_module(), torch.randn(2, 3, 8)
    choice = make_choice([[0, 4, 1], [2, 3, 4]])
    (trained,) = module.run(x_BTD, choice)
    (evaluated,) = module.eval().run(x_BTD, choice, form)
    torch.testing.assert_close(evaluated, trained)


def test_the_task_loss_reaches_every_weight_of_the_gate() -> None:
    module = make_module()
    (y_BTD,), _ = module(torch.randn(2, 30, 8), BETA)
    (y_BTD * torch.randn(2, 30, 8)).sum().backward()
    for name, parameter in module.gate.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_layers_that_share_a_gate_run_the_same_choice() -> None:
    module = make_module(layers=3, smallest=1).eval()
    x_BTD = torch.randn(2, 3, 8)
    outputs, choice = module(x_BTD, BETA, "prefixes")
    assert module.learner_macs == 3 * SPEC.macs
    for layer, output in zip(module.layers, outputs, strict=True):
        assert isinstance(layer, Learners)
        for row in range(2):
            for token in range(3):
                count = int(choice.learners_BT[row, token])
                expected = layer.prefix(x_BTD[row, token : token + 1], count)
                torch.testing.assert_close(output[row, token : token + 1], expected)


@pytest.mark.parametrize("training", [True, False])
def test_a_call_stores_nothing(training: bool) -> None:
    module = make_module().train(training)
    before = copy.deepcopy(module)
    module(torch.randn(2, 3, 8), BETA)
    for (name, one), other in zip(module.named_modules(), before.modules(), strict=True):
        assert one.__dict__.keys() == other.__dict__.keys(), name
    for (name, value), other_value in zip(
        module.state_dict().items(), before.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other_value), name


def test_a_picture_equals_itself_in_any_batch() -> None:
    module, x_BTD = make_module().eval(), torch.randn(2, 3, 8)
    (together,), choice = module(x_BTD, BETA, "groups")
    for row in range(2):
        (alone,), chosen = module(x_BTD[row : row + 1], BETA[row : row + 1], "groups")
        torch.testing.assert_close(alone[0], together[row])
        assert torch.equal(chosen.learners_BT[0], choice.learners_BT[row])


def test_a_cpu_runs_torchs_operations_whatever_is_installed() -> None:
    acm, x_BTD = make_module().eval(), torch.randn(2, 3, 8)
    assert not has_kernels(x_BTD)
    (usual,), _ = acm(x_BTD, BETA)
    (dense,), _ = acm(x_BTD, BETA, "dense")
    assert torch.equal(usual, dense)


def test_kernels_run_unless_a_form_is_asked_for_or_types_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acm, x_BTD = make_module().eval(), torch.randn(2, 3, 8)
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(module, "has_kernels", lambda x: True)
    monkeypatch.setattr(Acm, "_run_kernels", lambda self, x, beta: asked.append(x))
    acm(x_BTD, BETA, "groups")
    acm.train()(x_BTD, BETA)
    assert asked == []
    acm.eval()(x_BTD, BETA)
    assert asked == [x_BTD]
    with pytest.raises(RuntimeError, match="dtype"):
        acm(x_BTD.double(), BETA.double())
