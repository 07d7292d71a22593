"""SI prefixes keep numbers short, and never show a little as zero."""

from sparing.units import show_si


def test_numbers_keep_three_digits_and_a_prefix() -> None:
    values = (1234.56, 1.0, 0.01022, 0.0003273, 0.0, 999.6, -0.0021, 45.3e6)
    assert [show_si(one, "J") for one in values] == [
        "1.23 kJ", "1 J", "10.2 mJ", "327 µJ", "0 J", "1 kJ", "-2.1 mJ", "45.3 MJ",
    ]  # fmt: skip
