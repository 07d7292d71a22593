"""Every error that a caller may be told has its status."""

from collections.abc import Iterator

import orjson
import pytest

from core.errors import Overloaded, RouteUnavailable, SparingError, Unauthorized
from serving.http.status import STATUS, refuse


def walk(error: type[SparingError]) -> Iterator[type[SparingError]]:
    for child in error.__subclasses__():
        yield child
        yield from walk(child)


def test_every_leaf_of_the_tree_is_in_the_table_and_nothing_else() -> None:
    assert set(STATUS) == set(walk(SparingError))


@pytest.mark.parametrize("error", STATUS)
def test_an_error_is_a_sentence_with_its_status(error: type[SparingError]) -> None:
    status, headers, body = refuse(error("that was wrong"))
    assert status == STATUS[error]
    assert orjson.loads(body) == {"error": "that was wrong"}
    assert headers[0] == (b"content-type", b"application/json")


def test_whoever_may_try_again_learns_when_in_whole_seconds() -> None:
    assert (b"retry-after", b"3") in refuse(Overloaded("full", 2.1))[1]
    assert (b"retry-after", b"1") in refuse(RouteUnavailable("loading", 0.0))[1]
    assert (b"www-authenticate", b"Bearer") in refuse(Unauthorized("no"))[1]
