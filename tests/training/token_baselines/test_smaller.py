"""A smaller net is a part of the trained one."""

import pytest
import torch
from torch import nn

from tokens.acm.network import count_dense
from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet
from training.nets.predicting import predict
from training.token_baselines.smaller import Size, choose_layers, cut


def test_a_net_of_all_layers_and_units_answers_as_the_trained_one(
    dense: VisionTransformer, few: DataSet
) -> None:
    same, own = (predict(net, few.test.pictures)[0] for net in (cut(dense, Size(1, 1)), dense))
    torch.testing.assert_close(torch.from_numpy(same), torch.from_numpy(own))


def test_it_keeps_the_first_and_the_last_layer_and_the_heaviest_units(
    dense: VisionTransformer,
) -> None:
    smaller = cut(dense, Size(2 / 3, 1 / 4))
    assert (smaller.spec.layers, smaller.spec.hidden) == (2, 8)
    for place, own in ((0, 0), (1, 2)):
        first, second = (
            net.blocks[at].get_submodule("mlp.0") for net, at in ((smaller, place), (dense, own))
        )
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        rows = {tuple(row) for row in second.weight.tolist()}
        assert {tuple(row) for row in first.weight.tolist()} <= rows
    assert count_dense(smaller.spec) < count_dense(dense.spec)


@pytest.mark.parametrize(
    ("layers", "kept", "places"),
    [(6, 4, [0, 2, 3, 5]), (6, 2, [0, 5]), (6, 6, [*range(6)]), (3, 1, [0])],
)
def test_layers_are_kept_at_even_distances(layers: int, kept: int, places: list[int]) -> None:
    assert choose_layers(layers, kept) == places
