"""Names of others cannot break a line, steer a terminal or grow without bound."""

import pytest

from core.one_line import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mnist", "mnist"),
        ("größe 画像", "größe 画像"),
        ("a\nERROR b", "a\\nERROR b"),
        ("a\r\x1b[2Jb\x07\x7f\x9b", "a\\r\\x1b[2Jb\\x07\\x7f\\x9b"),
        ("a\u2028b\u202eb", "a\\u2028b\\u202eb"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
    ],
)
def test_what_cannot_be_printed_is_spelt_out(text: str, line: str) -> None:
    assert one_line(text) == line
    line.encode()


def test_a_long_text_is_cut_and_says_so() -> None:
    assert one_line("x" * 30, 10) == "x" * 10 + "… (20 characters more)"
