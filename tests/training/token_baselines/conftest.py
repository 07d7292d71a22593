"""A dense transformer of three layers, and a part of the tiny data."""

from dataclasses import replace

import pytest
import torch

from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet, Split
from training.fitting.vit import spec_for


@pytest.fixture
def few(tiny_data: DataSet) -> DataSet:
    def cut(split: Split, rows: int) -> Split:
        return Split(split.pictures[:rows], split.labels[:rows])

    return replace(
        tiny_data,
        train=cut(tiny_data.train, 256),
        held_out=cut(tiny_data.held_out, 60),
        test=cut(tiny_data.test, 60),
    )


@pytest.fixture
def dense(tiny_data: DataSet) -> VisionTransformer:
    torch.manual_seed(0)
    spec = replace(spec_for(tiny_data), width=16, layers=3, heads=2, hidden=32, stem=(4, 8, 8))
    return VisionTransformer(spec).eval()
