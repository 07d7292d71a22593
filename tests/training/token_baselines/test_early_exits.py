"""Exits answer with ensembles, learn apart from a frozen trunk, and cost what is counted."""

import pytest
import torch

from tests.counting import count_products
from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet
from training.token_baselines.early_exits import ExitVit


def make_batch(data: DataSet) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(data.train.pictures[:8]), torch.from_numpy(data.train.labels[:8])


def test_an_ensemble_is_a_weighted_sum_of_the_heads_log_probabilities(
    dense: VisionTransformer, few: DataSet
) -> None:
    torch.manual_seed(0)
    net = ExitVit(dense, frozen=True).eval()
    with torch.no_grad():
        net.weights.copy_(torch.randn_like(net.weights))
        net.biases.copy_(torch.randn_like(net.biases))
        pictures, _ = make_batch(few)
        heads, exits = net.answer(pictures), net(pictures)
    torch.testing.assert_close(heads[-1], dense(pictures))
    for place, given in enumerate(exits):
        weights = net.weights[place].exp().log1p()
        expected = net.biases[place] + sum(
            weights[head] * heads[head].log_softmax(dim=1) for head in range(place + 1)
        )
        torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_trunk_stays_as_it_is(
    dense: VisionTransformer, few: DataSet, frozen: bool
) -> None:
    torch.manual_seed(0)
    net = ExitVit(dense, frozen=frozen).train()
    before = {name: value.clone() for name, value in net.trunk.state_dict().items()}
    net.loss(*make_batch(few)).backward()  # type: ignore[no-untyped-call]
    learnt = [one.grad for one in net.trunk.parameters() if one.grad is not None]
    assert bool(learnt) is not frozen
    unchanged = all(torch.equal(before[k], v) for k, v in net.trunk.state_dict().items())
    assert unchanged is frozen  # batch norms follow the data
    listed = sum(len(group["params"]) for group in net.groups())
    assert listed == sum(one.requires_grad for one in net.parameters())


def test_no_gradient_of_an_ensemble_reaches_its_heads(
    dense: VisionTransformer, few: DataSet
) -> None:
    net = ExitVit(dense, frozen=False)
    torch.stack(net(make_batch(few)[0])).sum().backward()  # type: ignore[no-untyped-call]
    assert net.weights.grad is not None
    assert all(one.grad is None for one in net.heads.parameters())


def test_its_macs_are_those_of_the_products_that_run(
    dense: VisionTransformer, few: DataSet
) -> None:
    net = ExitVit(dense, frozen=True).eval()
    macs = net.macs()
    assert macs == sorted(macs)
    layers, classes = dense.spec.layers, dense.spec.classes
    # A whole run has the products of heads and trunk; ensembles are elementwise.
    ensembles = classes * layers * (layers + 1) // 2
    pictures, _ = make_batch(few)
    assert 8 * (macs[-1] - ensembles) == count_products(lambda: net.answer(pictures))


@pytest.mark.parametrize("threshold", [0.0, 0.27, 2.0])
def test_a_picture_leaves_with_the_answer_of_its_first_sure_exit(
    dense: VisionTransformer, few: DataSet, threshold: float
) -> None:
    torch.manual_seed(0)
    net = ExitVit(dense, frozen=True).eval()
    pictures, _ = make_batch(few)
    with torch.no_grad():
        exits = torch.stack(net(pictures))
    answers, left = net.answer_early(pictures, threshold)
    sure = exits.softmax(dim=2).amax(dim=2) >= threshold
    sure[-1] = True
    assert left.tolist() == sure.int().argmax(dim=0).tolist()
    torch.testing.assert_close(answers, exits[left, torch.arange(len(pictures))])
