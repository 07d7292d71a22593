"""A model just large enough to drop tokens: 4 visual tokens a picture, 4 layers."""

import pytest
import torch

from tokens.vision_language.model import VisionLanguageModel, VlmSpec

SPEC = VlmSpec(
    words=20,
    image_id=1,
    size_px=32,
    channels=(4, 4, 8),
    width=16,
    layers=4,
    heads=4,
    key_heads=2,
    hidden=24,
)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model() -> VisionLanguageModel:
    """With larger weights than those of a fresh model, so that attention is uneven."""
    torch.manual_seed(0)
    made = VisionLanguageModel(SPEC)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10.0)
    return made.eval()
