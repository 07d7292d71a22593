"""Heads that leave open what they mean are refused; odd ones that do not are answered."""

from collections.abc import Mapping

import pytest

from harness.waiting import until
from serving.http.head import read_target
from tests.serving.http.conversations import KNOWN
from tests.serving.http.wire import Scene, play, post, read

HOST = b"host: t\r\n"
CHUNKED = HOST + b"transfer-encoding: chunked\r\n"
CHUNKS = b"1\r\na\r\n0\r\n\r\n"


def frame(headers: bytes, body: bytes = b"", line: bytes = b"POST /v2 HTTP/1.1") -> bytes:
    return line + b"\r\n" + headers + b"\r\n" + body


def get(headers: bytes = HOST, target: bytes = b"/v2", version: bytes = b"1.1") -> bytes:
    return frame(headers, line=b"GET %s HTTP/%s" % (target, version))


# Name -> the request, its status, and words of its answer. The connection is closed behind each.
REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "no host": (get(b""), 400, "Host: not given"),
    "two hosts": (get(HOST + b"Host: t\r\n"), 400, "Host: given more than once"),
    "a host with a path": (get(b"host: t/x\r\n"), 400, "Host: given 't/x'"),
    "a host with a blank": (get(b"host: a b\r\n"), 400, "Host: given 'a b'"),
    "a host with an account": (get(b"host: a@b\r\n"), 400, "Host: given 'a@b'"),
    "two hosts in HTTP/1.0": (get(HOST * 2, version=b"1.0"), 400, "Host: given more than once"),
    "HTTP/0.9": (b"GET /v2\r\n\r\n", 505, "given HTTP/0.9"),
    "HTTP/2.0": (get(version=b"2.0"), 505, "given HTTP/2.0"),
    "HTTP/1.2": (get(version=b"1.2"), 400, "version"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not HTTP/1.1"),
    "a tunnel": (frame(HOST, b"x", b"CONNECT t:443 HTTP/1.1"), 400, "CONNECT is for proxies"),
    "a star": (get(target=b"*"), 400, "target: given '*'"),
    "options": (frame(HOST, line=b"OPTIONS * HTTP/1.1"), 405, "method: given OPTIONS"),
    "no host in a target": (get(target=b"http://"), 400, "target: given 'http://'"),
    "another scheme": (get(target=b"ftp://t/v2"), 400, "target: given 'ftp://t/v2'"),
    "no target": (get(target=b""), 400, "not HTTP/1.1"),
    "a name as target": (get(target=b"t:80"), 400, "not HTTP/1.1"),
    "two equal lengths": (frame(HOST + b"content-length: 1\r\n" * 2, b"a"), 400, "Content-Length"),
    "two lengths": (
        frame(HOST + b"content-length: 1\r\ncontent-length: 2\r\n", b"a"),
        400,
        "Content-Length",
    ),
    "a list of lengths": (frame(HOST + b"content-length: 1, 1\r\n", b"a"), 400, "Content-Length"),
    "length and chunks": (
        frame(CHUNKED + b"content-length: 11\r\n", CHUNKS),
        400,
        "Content-Length",
    ),
    "chunks, then none": (
        frame(HOST + b"transfer-encoding: chunked, identity\r\n", CHUNKS),
        400,
        "Transfer-Encoding",
    ),
    "chunked twice": (
        frame(HOST + b"transfer-encoding: chunked, chunked\r\n", CHUNKS),
        400,
        "Transfer-Encoding",
    ),
    "two codings": (
        frame(HOST + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", CHUNKS),
        400,
        "Transfer-Encoding: given more than once",
    ),
    "a parameter of chunked": (
        frame(HOST + b"transfer-encoding: chunked;q=1\r\n", CHUNKS),
        400,
        "Transfer-Encoding",
    ),
    "chunks in HTTP/1.0": (
        frame(CHUNKED, CHUNKS, b"POST /v2 HTTP/1.0"),
        400,
        "Transfer-Encoding: given in HTTP/1.0",
    ),
    "a folded line": (get(HOST + b"x: a\r\n b\r\n"), 400, "whitespace"),
    "a blank before the first header": (get(b" " + HOST), 400, "space"),
    "a blank before a colon": (get(b"host : t\r\n"), 400, "header"),
    "no colon": (get(HOST + b"x\r\n"), 400, "header"),
    "no name": (get(HOST + b": x\r\n"), 400, "header"),
    "a bare line feed": (get(b"host: t\n"), 400, "CR"),
    "a bare carriage return": (get(b"host: t\rx: y\r\n"), 400, "LF"),
    "a NUL": (get(b"host: t\0\r\n"), 400, "header"),
    "a chunk that ends in a bare line feed": (frame(CHUNKED, b"1\na\n0\n\n"), 400, "CR"),
    "a blank behind a chunk's size": (frame(CHUNKED, b"1 \r\na\r\n0\r\n\r\n"), 400, "chunk size"),
    "a chunk's size with a prefix": (frame(CHUNKED, b"0x1\r\na\r\n0\r\n\r\n"), 400, "chunk size"),
    "a chunk over 64 bits": (frame(CHUNKED, b"f" * 17 + b"\r\na\r\n"), 400, "hunk size"),
    "257 headers": (get(HOST + b"x: y\r\n" * 256), 431, "headers: given 257, allowed 256"),
    "a length among the trailers": (
        frame(CHUNKED, b"1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n"),
        400,
        "Content-Length",
    ),
}
ANSWERED: Mapping[str, bytes] = {
    "a host and a port": get(b"Host: t.example:80\r\n"),
    "an address": get(b"host: [::1]:3000\r\n"),
    "an empty host": get(b"host:\r\n"),
    "no host in HTTP/1.0": get(b"", version=b"1.0"),
    "an absolute target": get(target=b"http://other/v2"),
    "an absolute target and a query": get(target=b"HTTP://other:1/v2?a=b"),
    "a fragment": get(target=b"/v2#x"),
    "256 headers": get(HOST + b"x: y\r\n" * 255),
    "a header twice": get(HOST + b"accept: a\r\naccept: b\r\n"),
}


@pytest.mark.parametrize(("request_", "status", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_leaves_its_meaning_open_is_refused_once(
    request_: bytes, status: int, words: str
) -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        behind = b"" if b"chunk" in request_ else KNOWN
        for packets in ([request_ + behind], [bytes([byte]) for byte in request_ + behind]):
            ((given, answer),) = await scene.talk(*packets, answers=None)
            assert given == status, answer
            assert words in answer.decode()
            assert b"\r\nconnection: close\r\n" in answer
            assert b"callback" not in answer

    play(script)


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED.keys())
def test_what_is_odd_and_clear_is_answered(request_: bytes) -> None:
    async def script(scene: Scene) -> None:
        ((status, answer),) = await scene.talk(request_, answers=1)
        assert (status, b'"name":' in answer) == (200, True), answer

    play(script)


def test_a_target_without_a_path_gets_the_page_of_the_root() -> None:
    async def script(scene: Scene) -> None:
        answers = await scene.talk(get(target=b"http://t:80"), KNOWN, answers=2)
        assert [status for status, _ in answers] == [200, 200]
        assert b"text/html" in answers[0][1]

    play(script)


def test_a_refused_head_is_answered_behind_the_request_before_it() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        for first in (KNOWN, post(b"", url=b"/v2", method=b"GET")):
            answers = await scene.talk(first + get(b"") + KNOWN, answers=None)
            assert [status for status, _ in answers] == [200, 400]

    play(script)


def test_trailers_are_no_headers() -> None:
    trailers = b"0\r\nauthorization: Bearer secret\r\ncontent-encoding: gzip\r\n\r\n"

    async def script(scene: Scene) -> None:
        answers = await scene.talk(frame(CHUNKED, b"1\r\na\r\n" + trailers), answers=1)
        assert [status for status, _ in answers] == [401]

    play(script, bearer_token="secret")


def test_an_http_1_0_client_gets_no_interim_answer() -> None:
    async def script(scene: Scene) -> None:
        for version, interim in ((b"1.0", 0), (b"1.1", 1)):
            protocol, wire = scene.connect()
            body = b'{"inputs": 5}'
            last = (b"expect: 100-continue", b"connection: close")
            protocol.data_received(post(body, *last, version=version))
            await until(wire.is_closing)
            assert wire.written.count(b" 100 ") == interim

    play(script)


def test_targets_are_brought_to_their_path_and_query() -> None:
    assert read_target(b"/v2?x=1") == b"/v2?x=1"
    assert read_target(b"http://t") == b"/"
    assert read_target(b"https://t:1?x=1") == b"/?x=1"
    for target in (b"*", b"", b"http:///v2", b"mailto:x", b"http://t:99999999/v2"):
        assert read_target(target) is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_trailer_may_say_that_a_request_is_the_last(at_once: bool) -> None:
    last = frame(CHUNKED, b"1\r\na\r\n0\r\nconnection: close\r\n\r\n")

    async def script(scene: Scene) -> None:
        if at_once:
            answers = await scene.talk(last + KNOWN, answers=None)
            assert b"\r\nconnection: close\r\n" in answers[0][1]
        else:  # answered before its trailers are here
            protocol, wire = scene.connect()
            protocol.data_received(last[:-4])
            answers = await read(wire, 1)
            assert not wire.closing
            protocol.data_received(last[-4:] + KNOWN)
            assert wire.closing
        assert [status for status, _ in answers] == [405]

    play(script)
