"""The formula gives the figures of the paper's tables."""

import pytest

from tokens.pyramid_drop.flops import VICUNA_7B, DecoderShape, decoder_macs, paper_flops
from tokens.pyramid_drop.schedule import Schedule, fast_v, pyramid


@pytest.mark.parametrize(
    ("tokens", "schedule", "tera"),
    [
        (576, Schedule(), 3.817),
        (576, pyramid(32, ratio=0.4), 1.540),
        (576, pyramid(32, ratio=0.5), 1.777),
        (576, pyramid(32, ratio=0.6), 2.063),
        (576, fast_v(), 2.007),
        (2880, Schedule(), 20.825),
        (2880, pyramid(32, ratio=0.5), 9.465),
    ],
)
def test_the_papers_figures(tokens: int, schedule: Schedule, tera: float) -> None:
    assert paper_flops(VICUNA_7B, tokens, schedule) / 1e12 == pytest.approx(tera, abs=6e-4)


def test_without_text_and_grouped_keys_both_counts_agree() -> None:
    schedule = pyramid(32, ratio=0.5)
    assert decoder_macs(VICUNA_7B, 576, 0, schedule) == paper_flops(VICUNA_7B, 576, schedule)


def test_grouped_keys_and_text_are_counted() -> None:
    shape = DecoderShape(layers=2, width=4, hidden=6, key_width=2)
    each = 2 * 16 + 2 * 4 * 2 + 3 * 4 * 6
    expected = (10 + 7) * each + 2 * (10**2 + 7**2) * 4
    assert decoder_macs(shape, 8, 2, pyramid(2, ratio=0.625, stages=2)) == expected
