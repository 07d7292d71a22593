"""The whole net: its counter agrees with what it multiplies, and a picture answers as if alone."""

from dataclasses import replace

import pytest
import torch

from tests.product_counter import ProductCounter
from tokens.acm.execution import FORMS, Form
from tokens.acm.network import AcmSettings, AcmVit, count_dense
from tokens.vision_transformer import PatchSpec, VisionTransformer, VitSpec

SPEC = VitSpec(12, 4, (0.3,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))
PATCHES = PatchSpec(12, 4, (0.3,), (0.3,), 16, 2, 2, 32, patch_px=4)
VIT_B = PatchSpec(224, 1000, (0.5,) * 3, (0.5,) * 3, 768, 12, 12, 3072, patch_px=16)
SETTINGS = {
    "all": AcmSettings(),
    "shared gate": AcmSettings(shared_gate=True),
    "mlp alone": AcmSettings(projections=False),
}
EVERY_SETTING = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
EVERY_FORM = pytest.mark.parametrize("form", list(FORMS))


def make_net(settings: AcmSettings) -> AcmVit:
    torch.manual_seed(0)
    return AcmVit(SPEC, settings).eval()


def make_pictures(rows: int) -> torch.Tensor:
    return torch.randint(0, 256, (rows, 12, 12), dtype=torch.uint8)


@EVERY_SETTING
@pytest.mark.parametrize("form", ["prefixes", "groups"])
def test_the_counter_counts_what_was_multiplied(settings: AcmSettings, form: Form) -> None:
    net, pictures = make_net(settings), make_pictures(3)
    with ProductCounter() as counter, torch.no_grad():
        _, choices = net(pictures, torch.tensor([0.1, 0.5, 0.9]), form)
    chosen = [choice.learners_BT.numpy() for choice in choices]
    assert net.cost().count(chosen).sum() == counter.macs


@EVERY_SETTING
def test_all_learners_run_in_the_dense_form(settings: AcmSettings) -> None:
    net, pictures = make_net(settings), make_pictures(3)
    with ProductCounter() as counter, torch.no_grad():
        net(pictures, torch.full((3,), 0.5), "dense")
    assert 3 * net.cost().most == counter.macs


@pytest.mark.parametrize("spec", [SPEC, PATCHES], ids=["stem", "patches"])
def test_the_dense_nets_cost_is_what_it_multiplies(spec: VitSpec) -> None:
    net = VisionTransformer(spec).eval()
    with ProductCounter() as counter, torch.no_grad():
        net(make_pictures(2))
    assert 2 * count_dense(spec) == counter.macs


def test_a_net_of_patches_costs_what_it_multiplies() -> None:
    torch.manual_seed(0)
    net, pictures = AcmVit(PATCHES, AcmSettings()).eval(), make_pictures(3)
    with ProductCounter() as counter, torch.no_grad():
        _, choices = net(pictures, torch.tensor([0.1, 0.5, 0.9]), "groups")
    chosen = [choice.learners_BT.numpy() for choice in choices]
    assert net.cost().count(chosen).sum() == counter.macs


def test_the_net_of_the_paper_costs_what_the_paper_says() -> None:
    with torch.device("meta"):
        cost = AcmVit(VIT_B, AcmSettings()).cost()
    head = VIT_B.width * VIT_B.classes  # not counted there
    assert (count_dense(VIT_B) - head) / 1e9 == pytest.approx(17.56, abs=0.005)
    learners = cost.tokens * sum(one.learner * one.learners for one in cost.modules)
    for beta, gmacs in [(0.25, 5.2), (0.4, 7.7), (0.6, 11.0), (0.75, 13.5)]:
        assert (cost.most - head - (1 - beta) * learners) / 1e9 == pytest.approx(gmacs, abs=0.05)


def test_learners_and_the_layers_that_they_replace_cost_the_same() -> None:
    spec = replace(SPEC, width=128, hidden=512, heads=4)
    gates = sum(one.gate for one in AcmVit(spec, AcmSettings()).cost().modules) * spec.tokens
    most = AcmVit(spec, AcmSettings()).cost().most - gates
    assert most == pytest.approx(count_dense(spec), rel=0.01)


@EVERY_SETTING
@EVERY_FORM
def test_a_picture_answers_as_if_alone_whatever_budgets_share_its_batch(
    settings: AcmSettings, form: Form
) -> None:
    net, pictures, beta = make_net(settings), make_pictures(3), torch.tensor([0.1, 0.5, 0.9])
    together, choices = net(pictures, beta, form)
    for row in range(3):
        part = slice(row, row + 1)
        alone, chosen = net(pictures[part], beta[part], form)
        torch.testing.assert_close(alone, together[part], rtol=1e-4, atol=1e-5)
        for one, other in zip(chosen, choices, strict=True):
            assert torch.equal(one.learners_BT[0], other.learners_BT[row])


@EVERY_SETTING
def test_forms_agree(settings: AcmSettings) -> None:
    net, pictures, beta = make_net(settings), make_pictures(3), torch.tensor([0.1, 0.5, 0.9])
    forms: list[Form] = ["dense", "prefixes", "groups"]
    first, *others = [net(pictures, beta, form)[0] for form in forms]
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-5)


def test_the_task_loss_reaches_every_gate() -> None:
    net = make_net(AcmSettings()).train()
    logits, _ = net(make_pictures(8), torch.rand(8))
    loss = torch.nn.functional.cross_entropy(logits, torch.randint(0, 4, (8,)))
    loss.backward()  # type: ignore[no-untyped-call]
    for module in net.modules_in_order():
        gradient = module.gate.last.weight.grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_choices_are_returned_in_the_modules_order() -> None:
    net = make_net(AcmSettings())
    _, choices = net(make_pictures(2), torch.rand(2))
    assert len(choices) == len(net.modules_in_order()) == 2 * 5
    assert [c.smallest for c in choices] == [m.gate.smallest for m in net.modules_in_order()]
    assert all(choice.learners_BT.shape == (2, SPEC.tokens) for choice in choices)
