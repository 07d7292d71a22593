"""Merged tokens stand for what they were made of, and cost what is counted."""

import pytest
import torch

from tests.counting import count_products
from tokens.acm.network import count_dense
from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet
from training.token_baselines.merging import MergingVit, merge_pairs


def test_without_merged_tokens_it_answers_as_the_dense_net(
    dense: VisionTransformer, few: DataSet
) -> None:
    pictures = torch.from_numpy(few.test.pictures[:4])
    net = MergingVit(dense, 0).eval()
    torch.testing.assert_close(net(pictures), dense(pictures))
    assert net.macs(0) == count_dense(dense.spec)


def test_the_most_similar_pairs_become_one_and_their_sizes_add_up() -> None:
    x_BTD = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.1], [0.0, -1.0]]])
    size_BT1 = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0]).view(1, 5, 1)
    merged, sizes = merge_pairs(x_BTD, size_BT1, x_BTD, 1)
    assert merged.shape == (1, 4, 2)
    assert sizes.flatten().tolist() == [1.0, 1.0, 4.0, 1.0]
    torch.testing.assert_close(merged[0, 2], torch.tensor([3.7 / 4, 0.3 / 4]))


@pytest.mark.parametrize("merged", [1, 3, 9])
def test_no_token_is_lost_and_at_most_half_of_them_go(merged: int) -> None:
    torch.manual_seed(0)
    x_BTD = torch.randn(2, 9, 4)
    put, sizes = merge_pairs(x_BTD, torch.ones(2, 9, 1), torch.randn(2, 9, 4), merged)
    assert put.shape[1] == 9 - min(merged, 4)
    torch.testing.assert_close((put * sizes).sum(dim=1), x_BTD.sum(dim=1))
    torch.testing.assert_close(sizes.sum(dim=1), torch.full((2, 1), 9.0))


@pytest.mark.parametrize("merged", [0, 2, 7, 40])
def test_its_macs_are_those_of_the_products_that_run(
    dense: VisionTransformer, few: DataSet, merged: int
) -> None:
    net = MergingVit(dense, merged).eval()
    pictures = torch.from_numpy(few.test.pictures[:2])
    assert 2 * net.macs(merged) == count_products(lambda: net(pictures))


def test_merging_passes_a_gradient_to_every_layer(dense: VisionTransformer, few: DataSet) -> None:
    net = MergingVit(dense, 5)
    net(torch.from_numpy(few.test.pictures[:2])).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
