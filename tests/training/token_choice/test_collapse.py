"""The measures of collapse are 0 and 1 where they must be."""

import numpy as np
import pytest

from training.token_choice.collapse import mean_difference, measure_spread


def test_one_choice_for_all_tokens_has_no_entropy_and_no_difference() -> None:
    spread = measure_spread(np.full((5, 8, 2), 2), (0, 1), 4)
    assert spread.entropy == pytest.approx(0)
    assert spread.difference == pytest.approx(0)
    assert spread.commonest == 1


def test_an_even_spread_over_all_choices_has_the_whole_entropy() -> None:
    chosen = np.stack([np.arange(20) % 5, np.arange(20) % 4 + 1], axis=1)
    spread = measure_spread(np.stack([chosen] * 3), (0, 1), 4)
    assert spread.entropy == pytest.approx(1)
    assert spread.commonest == pytest.approx((1 / 5 + 1 / 4) / 2)
    assert spread.difference == pytest.approx(0)


def test_pictures_that_choose_differently_differ() -> None:
    chosen = np.stack([np.full((8, 2), 1), np.full((8, 2), 4)])
    assert measure_spread(chosen, (0, 1), 4).difference == pytest.approx(3 / 4 / 2)


def test_the_mean_difference_is_that_of_all_pairs() -> None:
    values = np.random.default_rng(0).random(7)
    pairs = np.abs(values[:, None] - values[None, :])
    assert mean_difference(values) == pytest.approx(pairs.mean())
