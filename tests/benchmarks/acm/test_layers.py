"""A layer's tokens choose as often as the trained net's did."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from benchmarks.acm.layers import count_shares, fit_biases, make_layer, summarise
from tokens.acm.network import AcmSettings
from tokens.vision_transformer import VitSpec

SPEC = VitSpec(28, 4, (0.3,), (0.3,), 32, 1, 2, 64, stem=(4, 8, 8))


def test_fitted_biases_make_each_choice_as_frequent_as_wanted() -> None:
    torch.manual_seed(0)
    logits_RC, wanted = torch.randn(2_000, 5), np.array([0.1, 0.4, 0.0, 0.2, 0.3])
    best = (logits_RC + fit_biases(logits_RC, wanted)).argmax(dim=1)
    shares = torch.bincount(best, minlength=5).numpy() / 2_000
    assert shares == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    "settings", [AcmSettings(shared_gate=True), AcmSettings(projections=False)]
)
def test_a_layer_chooses_by_the_given_shares(settings: AcmSettings) -> None:
    wanted: Sequence[Sequence[float]] = [
        [0, 0.1, 0.2, 0.3, 0.4], [0, 0.7, 0.1, 0.1, 0.1], [0.5, 0.2, 0.1, 0.1, 0.1]
    ]  # fmt: skip
    if not settings.projections:
        wanted = wanted[2:]
    shares = [np.array(one) for one in wanted]
    _, net, pictures = make_layer(SPEC, settings, shares)
    with torch.no_grad():
        _, choices = net(torch.from_numpy(pictures), torch.full((len(pictures),), 0.5))
    for choice, expected in zip(choices, shares, strict=True):
        given = count_shares(choice.learners_BT.numpy(), settings.learners)
        assert given == pytest.approx(expected, abs=0.08)


def test_shares_are_means_over_the_trained_nets_layers() -> None:
    chosen_NTM = np.array([[[1, 0, 3, 4]]])  # two layers of two modules
    (first, second) = summarise(AcmSettings(), 2, {0.5: chosen_NTM}).shares[0.5]
    assert first.tolist() == [0, 0.5, 0, 0.5, 0]
    assert second.tolist() == [0.5, 0, 0, 0, 0.5]
