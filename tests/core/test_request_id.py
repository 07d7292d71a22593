"""Ids of requests: what is one, and what is ignored."""

import pytest

from core.request_id import read_request_id


@pytest.mark.parametrize("given", ["a", "3f1c-9", "a b", "x" * 128, "Root=1-67;Parent=2"])
def test_an_id_is_returned_as_it_came(given: str) -> None:
    assert read_request_id(given) == read_request_id(given.encode()) == given


@pytest.mark.parametrize(
    "given", [None, "", b"", " ", " a", "a ", "x" * 129, "a\r\nb: c", "a\x00", "\x7f", "é", b"\xff"]
)
def test_anything_else_is_no_id(given: str | bytes | None) -> None:
    assert read_request_id(given) == ""
