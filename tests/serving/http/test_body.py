"""Bodies are counted while they arrive, refused over the limits, and given back."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from core.errors import BodyTooLarge, InvalidInput, RouteUnavailable, UnsupportedEncoding
from serving.http.body import BodyBudget, ClientGone


class Sender:
    """ASGI's receive for a body in chunks; counts what was asked for."""

    def __init__(self, *chunks: bytes, gone: bool = False) -> None:
        self.messages: list[Mapping[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": gone or place < len(chunks) - 1}
            for place, chunk in enumerate(chunks)
        ]
        if gone:
            self.messages.append({"type": "http.disconnect"})
        self.received = 0

    async def __call__(self) -> Mapping[str, Any]:
        self.received += 1
        return self.messages[self.received - 1]


def read(budget: BodyBudget, sender: Sender, **headers: bytes) -> bytes:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return asyncio.run(budget.read(named, sender))


def test_bodies_are_held_until_they_are_given_back() -> None:
    budget = BodyBudget(10, 100)
    whole, chunked = read(budget, Sender(b"abc")), read(budget, Sender(b"d", b"", b"ef"))
    assert (whole, chunked, budget.in_flight_bytes) == (b"abc", b"def", 6)
    budget.give_back(len(whole))
    budget.give_back(len(chunked))
    assert budget.in_flight_bytes == 0


def test_a_declared_length_over_the_limit_is_refused_before_reading() -> None:
    sender = Sender(b"x")
    with pytest.raises(BodyTooLarge, match="given 11 bytes"):
        read(BodyBudget(10, 100), sender, content_length=b"11")
    assert sender.received == 0


def test_chunks_are_counted_and_the_rest_is_not_read() -> None:
    budget, sender = BodyBudget(10, 100), Sender(b"x" * 6, b"x" * 6, b"x" * 6)
    with pytest.raises(BodyTooLarge, match="given 12 bytes"):
        read(budget, sender)
    assert (sender.received, budget.in_flight_bytes) == (2, 0)


def test_all_bodies_together_are_bounded() -> None:
    budget = BodyBudget(10, 15)
    read(budget, Sender(b"x" * 10))
    with pytest.raises(RouteUnavailable, match="hold 10 bytes, allowed 15"):
        read(budget, Sender(b"x" * 6), content_length=b"6")
    with pytest.raises(RouteUnavailable):
        read(budget, Sender(b"x" * 3, b"x" * 3))
    assert budget.in_flight_bytes == 10


def test_a_client_that_leaves_while_sending_holds_nothing() -> None:
    budget = BodyBudget(10, 100)
    with pytest.raises(ClientGone):
        read(budget, Sender(b"abc", gone=True))
    assert budget.in_flight_bytes == 0


def test_compressed_bodies_and_senseless_lengths_are_refused() -> None:
    budget = BodyBudget(10, 100)
    for encoding in (b"gzip", b"br, identity", b"deflate"):
        with pytest.raises(UnsupportedEncoding, match="Content-Encoding"):
            read(budget, Sender(b"x"), content_encoding=encoding)
    for length in (b"-1", b"x", b"", b"9" * 50):
        with pytest.raises(InvalidInput, match="Content-Length"):
            read(budget, Sender(b"x"), content_length=length)
    assert read(budget, Sender(b"x"), content_encoding=b"Identity") == b"x"
