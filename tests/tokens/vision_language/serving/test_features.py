"""Pictures that were shown before are not computed again, within a limit in bytes."""

import torch
from torch import Tensor

from tokens.vision_language.serving.features import FeatureMemory

ITEM_BYTES = 4 * 2 * 3  # of one picture's features


class Counting:
    def __init__(self) -> None:
        self.computed = 0

    def __call__(self, pictures: Tensor) -> Tensor:
        self.computed += len(pictures)
        return pictures.float().mean(dim=(1, 2, 3)).view(-1, 1, 1).expand(-1, 2, 3)


def picture(value: int) -> Tensor:
    return torch.full((8, 8, 3), value, dtype=torch.uint8)


def test_a_picture_is_computed_once() -> None:
    compute = Counting()
    memory = FeatureMemory(10 * ITEM_BYTES, compute)
    found, seen = memory.find([picture(1), picture(2), picture(1)])
    assert (seen, compute.computed) == (2, 2)
    assert found[:, 0, 0].tolist() == [1.0, 2.0, 1.0]
    again, seen = memory.find([picture(2), picture(3)])
    assert (seen, compute.computed) == (1, 3)
    assert again[:, 0, 0].tolist() == [2.0, 3.0]
    assert memory.used_bytes == 3 * ITEM_BYTES


def test_the_least_recently_used_is_dropped_at_the_limit() -> None:
    compute = Counting()
    memory = FeatureMemory(2 * ITEM_BYTES, compute)
    memory.find([picture(1), picture(2)])
    memory.find([picture(1)])
    memory.find([picture(3)])  # in place of 2
    assert memory.used_bytes == 2 * ITEM_BYTES
    assert memory.find([picture(1)])[1] == 0
    assert memory.find([picture(2)])[1] == 1


def test_features_larger_than_the_limit_are_not_kept() -> None:
    memory = FeatureMemory(ITEM_BYTES - 1, Counting())
    assert memory.find([picture(1)])[1] == memory.find([picture(1)])[1] == 1
    assert memory.used_bytes == 0
