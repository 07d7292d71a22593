"""A converted net begins as its teacher; what cannot be converted is refused."""

import pytest
import torch
from torch import nn

from tokens.acm.learners import Learners, LearnerSpec
from tokens.acm.network import AcmSettings, AcmVit
from tokens.acm.surgery import begin_as_mlp, begin_as_projection, convert
from tokens.vision_transformer import VisionTransformer, VitSpec

SPEC = VitSpec(12, 4, (0.3,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))


def make_teacher() -> VisionTransformer:
    torch.manual_seed(0)
    net = VisionTransformer(SPEC)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def open_all_gates(net: AcmVit) -> AcmVit:
    for module in net.modules_in_order():
        with torch.no_grad():
            module.gate.last.weight.zero_()
            module.gate.shift.weight.zero_()
            module.gate.last.bias.copy_(torch.arange(len(module.gate.last.bias)))
    return net


def test_with_every_learner_an_mlp_is_kept_to_rounding() -> None:
    teacher = make_teacher()
    net = open_all_gates(convert(teacher, AcmSettings(projections=False))).eval()
    pictures = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8)
    logits, choices = net(pictures, torch.ones(3))
    assert all((choice.learners_BT == 4).all() for choice in choices)
    torch.testing.assert_close(logits, teacher(pictures), rtol=1e-4, atol=1e-4)


def test_a_prefix_of_a_projection_is_the_nearest_map_of_its_rank() -> None:
    torch.manual_seed(0)
    linear, learners = nn.Linear(6, 5), Learners(LearnerSpec(6, 5, 2, 2, gelu=False))
    begin_as_projection(learners, linear)
    u, values, v = torch.linalg.svd(linear.weight.detach())
    x_RD = torch.randn(7, 6)
    for count in (1, 2):
        rank = 2 * count
        nearest = u[:, :rank] @ torch.diag(values[:rank]) @ v[:rank]
        expected = x_RD @ nearest.T + linear.bias
        torch.testing.assert_close(learners.prefix(x_RD, count), expected, rtol=1e-4, atol=1e-5)


def test_the_first_learner_of_an_mlp_has_its_heaviest_units() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 8), nn.Linear(8, 5)
    learners = Learners(LearnerSpec(6, 5, 4, 2, gelu=True))
    begin_as_mlp(learners, first, second)
    weight = learners.first.norm(dim=1) * learners.second.norm(dim=1)
    assert weight.tolist() == sorted(weight.tolist(), reverse=True)


def test_the_teacher_is_left_as_it_is() -> None:
    teacher = make_teacher()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    net = convert(teacher, AcmSettings())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_learners_may_begin_at_random() -> None:
    teacher = make_teacher()
    torch.manual_seed(1)
    net = convert(teacher, AcmSettings(), start="random")
    assert torch.equal(net.outer.head.weight, teacher.head.weight)
    (layer,) = [one for one in net.modules_in_order()[-1].layers if isinstance(one, Learners)]
    assert layer.bias.abs().sum() == 0


@pytest.mark.parametrize(
    ("net", "settings", "message"),
    [
        (nn.Linear(3, 3), AcmSettings(), "a Linear cannot be converted"),
        (VisionTransformer(SPEC), AcmSettings(learners=0), "0 learners"),
        (VisionTransformer(SPEC), AcmSettings(learners=33), "33 learners"),
        (VisionTransformer(SPEC), AcmSettings(learners=3), "cannot be dealt to 3 learners"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_a_sentence(
    net: nn.Module, settings: AcmSettings, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convert(net, settings)
