"""The verdict's interval, and whether the allowed loss is kept."""

import numpy as np
import pytest

from importing.verdict import Verdict, VerdictRow, compare_hits, write_sentence


def test_the_interval_has_a_width_where_all_answers_are_equal() -> None:
    hits = np.arange(98) % 5 > 0
    difference, low, high = compare_hits(hits, hits)
    assert difference == 0
    assert high == pytest.approx(1.959964 * 2**0.5 / 100)  # Bonett and Price, 98 rows and 2
    assert low == -high


def test_the_interval_is_that_of_bonett_and_price() -> None:
    hits = np.repeat([True, True, False, False], [60, 12, 3, 25])
    reference = np.repeat([True, False, True, False], [60, 12, 3, 25])
    difference, low, high = compare_hits(hits, reference)
    assert difference == pytest.approx(0.09)
    more, less = 13 / 102, 4 / 102
    error = ((more + less - (more - less) ** 2) / 102) ** 0.5
    assert low == pytest.approx(more - less - 1.959964 * error)
    assert high == pytest.approx(more - less + 1.959964 * error)


def _make_row(name: str, difference: float, low: float) -> VerdictRow:
    return VerdictRow(
        name=name,
        precision="float32",
        members=(name,),
        accuracy=0.9,
        us_per_row=10,
        macs=1,
        size_bytes=1,
        difference=difference,
        low=low,
        high=0.02,
        chosen=name == "small",
    )


@pytest.mark.parametrize(
    ("difference", "low", "kept", "said"),
    [
        (0.0, -0.005, "yes", "to +2.0."),
        (-0.005, -0.03, "not shown", "That it loses at most 1.0 points (--max-loss) is not shown."),
        (-0.02, -0.05, "no", "Warning: it loses more than the 1.0 points that --max-loss allows."),
    ],
)
def test_the_loss_on_the_test_rows_is_compared_with_the_allowed_one(
    difference: float, low: float, kept: str, said: str
) -> None:
    rows = (_make_row("small", difference, low), _make_row("large", 0.0, -0.01))
    sentence = write_sentence(rows, "large", 0.01)
    assert sentence.endswith(said)
    verdict = Verdict(rows, "large", 0.01, 100, 100, sentence, ())
    assert verdict.as_json()["max_loss_kept"] == kept
