"""The counter: the paper's costs of a ViT-B come out, and so does what a net really multiplies."""

import numpy as np
import pytest

from tokens.acm.macs import ModuleCost, NetCost, replaced_rank, replaced_width

TOKENS, WIDTH, HIDDEN, LAYERS, N = 197, 768, 3072, 12, 4


def make_vit_b() -> NetCost:
    """ViT-B/16 at 224 pixels with the released sizes; the class head is not counted, as there."""
    width, rank = replaced_width(HIDDEN, N), replaced_rank(WIDTH, WIDTH, N)
    assert (width, rank) == (768, 96)
    gate = WIDTH * 16 + 16 * 16
    mlp = ModuleCost(gate + 16 * 5, 2 * WIDTH * width, N)
    projection = ModuleCost(gate + 16 * 4, 2 * WIDTH * rank, N)
    embedding, attention = 196 * 768 * WIDTH, LAYERS * 2 * TOKENS**2 * WIDTH
    modules = (projection, projection, projection, projection, mlp) * LAYERS
    return NetCost(embedding + attention, TOKENS, modules)


@pytest.mark.parametrize(
    ("beta", "gmacs"), [(0.25, 5.2), (0.4, 7.7), (0.6, 11.0), (0.75, 13.5), (1.0, 17.7)]
)
def test_a_vit_b_costs_what_the_paper_says(beta: float, gmacs: float) -> None:
    cost, pictures = make_vit_b(), 5  # 5 * 197 choices can have each of these means
    total = round(beta * N * pictures * TOKENS)
    least = total // (pictures * TOKENS)
    flat = np.full(pictures * TOKENS, least)
    flat[: total - flat.sum()] += 1
    chosen = [flat.reshape(pictures, TOKENS)] * len(cost.modules)
    assert cost.count(chosen).mean() / 1e9 == pytest.approx(gmacs, abs=0.05)


def test_a_dense_vit_b_costs_17_56_gmacs() -> None:
    cost = make_vit_b()
    gates = TOKENS * sum(module.gate for module in cost.modules)
    assert (cost.most - gates) / 1e9 == pytest.approx(17.56, abs=0.005)
    assert gates / cost.most == pytest.approx(0.01, abs=0.002)


def test_each_picture_pays_for_its_own_choices() -> None:
    cost = NetCost(1000, 2, (ModuleCost(3, 10, 4), ModuleCost(5, 7, 4)))
    chosen = [np.array([[4, 1], [0, 0]]), np.array([[1, 1], [1, 4]])]
    assert cost.count(chosen).tolist() == [1000 + 16 + 50 + 14, 1000 + 16 + 35]
