"""A request that offers another protocol is answered as one that does not, and exactly once."""

from collections.abc import Mapping, Sequence

import pytest

from tests.serving.http.conversations import CHUNKED, KNOWN
from tests.serving.http.wire import Scene, play, post, write_body

OFFERS: Mapping[str, Sequence[bytes]] = {
    "h2c": (
        b"connection: Upgrade, HTTP2-Settings",
        b"upgrade: h2c",
        b"http2-settings: AAMAAABkAAQAAP__",
    ),
    "websocket": (
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==",
    ),
    "TLS": (b"connection: upgrade", b"upgrade: TLS/1.0, HTTP/1.1"),
    "unknown": (b"upgrade: foo/1", b"connection: upgrade"),
}
INNER = b"GET /v2 HTTP/1.1\r\nhost: smuggled\r\n\r\n"
Making = Mapping[str, tuple[bytes, bytes, bytes]]  # method, target and body
REQUESTS: Making = {
    "infer, known": (b"POST", b"/v2/models/toy/infer", write_body(1.0)),
    "infer, new": (b"POST", b"/v2/models/toy/infer", write_body(3.0)),
    "infer, a request as its body": (b"POST", b"/v2/models/toy/infer", INNER),
    "predict": (b"POST", b"/v1/routes/toy/predict", INNER),
    "GET": (b"GET", b"/v2", b""),
    "GET with a body": (b"GET", b"/v2", INNER),
    "an absolute target": (b"GET", b"http://t/v2", b""),
}


def cut(request: bytes, how: str) -> list[bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    if how == "split":
        return [head + b"\r\n\r\n", body]
    if how == "every byte":
        return [bytes([byte]) for byte in request]
    if how == "inside of its head":
        return [request[:30], request[30:]]
    return [request]


@pytest.mark.parametrize("how", ["one packet", "split", "every byte", "inside of its head"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_offers_change_nothing(kind: str, chunked: bool, how: str) -> None:
    method, url, body = REQUESTS[kind]

    def make(*headers: bytes) -> bytes:
        if not chunked:
            return post(body, *headers, url=url, method=method)
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        return post(chunks, *headers, CHUNKED, url=url, method=method, length=b"")

    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        plain = await scene.talk(make(), KNOWN, answers=2)
        for offer in OFFERS.values():
            packets = [packet for packet in cut(make(*offer), how) if packet]
            assert await scene.talk(*packets, KNOWN, answers=2) == plain
            packets[-1] += KNOWN
            assert await scene.talk(*packets, answers=2) == plain

    play(script)


def test_many_offers_in_one_packet_are_answered_in_order() -> None:
    requests = [post(write_body(1.0), *offer) for offer in OFFERS.values()] * 5

    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        answers = await scene.talk(b"".join(requests), answers=20)
        assert [status for status, _ in answers] == [200] * 20
        assert scene.requests() == {"ok": 21}

    play(script)


def test_a_last_request_with_an_offer_is_the_last() -> None:
    last = (b"connection: Upgrade, close", b"upgrade: h2c")

    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        answers = await scene.talk(post(write_body(1.0), *last) + KNOWN, answers=None)
        assert [status for status, _ in answers] == [200]
        assert b"\r\nconnection: close\r\n" in answers[0][1]

    play(script)


def test_nothing_is_logged_of_an_offer(caplog: pytest.LogCaptureFixture) -> None:
    async def script(scene: Scene) -> None:
        await scene.talk(post(write_body(1.0), *OFFERS["websocket"]), answers=1)

    play(script)
    assert not caplog.records
