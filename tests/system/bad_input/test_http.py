"""Bad requests below the protocol: framing, paths, sizes, encodings. Told why, no harm done."""

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.clients.bad_input import (
    GOOD,
    INFER,
    MIB,
    PREDICT,
    Victim,
    check_told,
    make_binary,
    post,
    read_reply,
)

BODY = json.dumps(GOOD).encode()
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def frame(headers: bytes, body: bytes = BODY, target: bytes = INFER.encode()) -> bytes:
    return b"POST %s HTTP/1.1\r\nhost: t\r\n%s\r\n%s" % (target, headers, body)


MALFORMED: Mapping[str, tuple[bytes, str]] = {
    "a length twice": (
        frame(b"content-length: %d\r\n" % len(BODY) * 2),
        "Content-Length",
    ),
    "two lengths": (frame(b"content-length: 5\r\ncontent-length: 6\r\n"), "Content-Length"),
    "a negative length": (frame(b"content-length: -5\r\n"), "Content-Length"),
    "a length with a plus": (frame(b"content-length: +5\r\n"), "Content-Length"),
    "a length that is text": (frame(b"content-length: five\r\n"), "Content-Length"),
    "a length over 64 bits": (frame(b"content-length: 99999999999999999999\r\n"), "Content-Length"),
    "a length and chunks": (frame(b"content-length: 5\r\n" + CHUNKED, CHUNK), "Content-Length"),
    "chunks and a length": (frame(CHUNKED + b"content-length: 5\r\n", CHUNK), "Content-Length"),
    "an unknown coding": (frame(b"transfer-encoding: bogus\r\n"), "Transfer-Encoding"),
    "a coding that is not the last": (
        frame(b"transfer-encoding: chunked, gzip\r\n", CHUNK),
        "Transfer-Encoding",
    ),
    "a negative chunk": (frame(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"), "chunk size"),
    "a chunk over 64 bits": (frame(CHUNKED, b"f" * 17 + b"\r\nhello\r\n"), "Chunk size"),
    "a chunk that is longer than it says": (frame(CHUNKED, b"2\r\nhello\r\n0\r\n\r\n"), "chunk"),
    "a control character in a header": (frame(b"x: a\x01b\r\n"), "header"),
    "a NUL in a header": (frame(b"x: a\0b\r\n"), "header"),
    "a blank before the colon": (frame(b"content-length : 2\r\n", b"{}"), "header"),
    "bare line feeds": (b"POST /v2 HTTP/1.1\nhost: t\n\n", "CR"),
    "a NUL in the path": (frame(b"", b"", b"/v2/models/t\0y/infer"), "url"),
    "a byte over 127 in the path": (frame(b"", b"", b"/v2/models/t\xffy/infer"), "url"),
    "an unknown method": (b"FETCH /v2 HTTP/1.1\r\nhost: t\r\n\r\n", "method"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not HTTP"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "method"),
    "noise": (bytes(range(128, 256)) * 8, "method"),
}
PATHS: Mapping[str, str] = {
    "an unknown route": "/v2/models/nothing/infer",
    "an unknown version": "/v2/models/tiny/versions/9/infer",
    "a version that is text": "/v2/models/tiny/versions/new/infer",
    "an empty version": "/v2/models/tiny/versions//infer",
    "an empty route": "/v2/models//infer",
    "an unknown task": "/v2/models/auto:nothing/infer",
    "no task": "/v2/models/auto:/infer",
    "an encoded way out": "/v2/models/..%2f..%2fetc/infer",
    "a way out": "/v2/models/../../etc/passwd",
    "a way out, encoded twice": "/v2/models/%252e%252e%252f/infer",
    "a way out by backslashes": "/v2/models/..%5c..%5cetc/infer",
    "an encoded NUL": "/v2/models/tiny%00/infer",
    "encoded line ends": "/v2/models/tiny%0d%0ax:%20y/infer",
    "encoded bytes that are not UTF-8": "/v2/models/%ff%fe/infer",
    "an encoded surrogate": "/v2/models/%ed%a0%80/infer",
    "half an escape": "/v2/models/tiny%f/infer",
    "an escape without digits": "/v2/models/tiny%zz/infer",
    "10 kB of a route": f"/v2/models/{'r' * 10_240}/infer",
    "10 kB of escapes": f"/v2/models/{'%c3%a9' * 1_700}/infer",
    "10 kB of a version": f"/v2/models/tiny/versions/{'9' * 10_240}/infer",
    "another letter case": "/v2/models/TINY/infer",
    "a slash at the end": "/v2/models/tiny/infer/",
    "an unknown page": "/v3",
    "an unknown picture route": "/v1/routes/nothing/predict",
    "an unknown picture version": f"{PREDICT}?version=9",
}
PACKED: Mapping[str, bytes] = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "br": b"\x0b\x02\x80hello\x03",
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "gzip, identity": gzip.compress(BODY),
    "GZip": gzip.compress(bytes(15 * MIB)),
}


@pytest.mark.parametrize(("raw", "words"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_http_is_told_why(victim: Victim, raw: bytes, words: str) -> None:
    victim.check_refused(raw, 400, "request: not HTTP/1.1", words)


def test_a_tunnel_is_refused(victim: Victim) -> None:
    victim.check_refused(b"CONNECT t:80 HTTP/1.1\r\nhost: t\r\n\r\n", 400, "method: given CONNECT")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_a_path_that_leads_nowhere_is_404(victim: Victim, path: str) -> None:
    victim.check_refused(post(path, BODY), 404)


@pytest.mark.parametrize(("encoding", "body"), PACKED.items())
@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_compressed_body_is_refused(
    victim: Victim, path: str, encoding: str, body: bytes
) -> None:
    with victim.bounded(16 * MIB):
        victim.check_refused(
            post(path, body, content_encoding=encoding), 415, "Content-Encoding: given"
        )


def test_a_body_compressed_for_its_transfer_is_refused(victim: Victim) -> None:
    packed = gzip.compress(BODY)
    raw = frame(b"transfer-encoding: gzip, chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (1, packed[:1]))
    victim.check_refused(raw, 415, "Transfer-Encoding: given 'gzip, chunked'")


@pytest.mark.parametrize("path", [INFER, PREDICT])
@pytest.mark.parametrize("length", [16 * MIB + 1, 100_000_000, 10**17])
def test_a_declared_length_over_the_limit_is_refused_at_once(
    victim: Victim, path: str, length: int
) -> None:
    raw = post(path, b"[", content_length=length)
    victim.check_refused(raw, 413, f"body: given {length} bytes", str(16 * MIB))


def test_a_declared_length_near_2_to_the_64_is_refused(victim: Victim) -> None:
    raw = post(INFER, b"[", content_length=2**64 - 1)
    victim.check_refused(raw, 400, "Content-Length: given '18446744073709551615'")


def test_a_caller_who_asks_before_sending_is_told_not_to(victim: Victim) -> None:
    raw = post(INFER, b"", content_length=100_000_000, expect="100-continue")
    victim.check_refused(raw, 413, "body: given 100000000 bytes")


def pour(victim: Victim, head: bytes, pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """Send without end while reading the answer; the server may close. -> status and body"""
    with victim.connect() as connection:
        connection.sendall(head)

        def send() -> None:
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except OSError:
                pass  # it has heard enough

        sender = threading.Thread(target=send)
        sender.start()
        try:
            reply = read_reply(connection)
        finally:
            sender.join(30.0)
        assert not sender.is_alive()
        return reply.status, reply.body


def repeat(piece: bytes, total_bytes: int) -> Iterator[bytes]:
    for _ in range(total_bytes // len(piece)):
        yield piece


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_100_megabytes_in_chunks_are_refused_and_not_kept(victim: Victim, path: str) -> None:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    head = frame(CHUNKED, b"", path.encode())
    with victim.bounded(48 * MIB):
        status, body = pour(victim, head, repeat(chunk, 100 * MIB))
        assert status == 413
        assert b"body: given " in body
        victim.check_unharmed()


def test_100_megabytes_sent_after_the_refusal_are_not_kept(victim: Victim) -> None:
    head = post(INFER, b"", content_length=100 * MIB)
    with victim.bounded(16 * MIB):
        status, body = pour(victim, head, repeat(bytes(MIB), 100 * MIB))
        assert (status, b"body: given" in body) == (413, True)
        victim.check_unharmed()


def test_bodies_that_never_end_leave_nothing_behind(victim: Victim) -> None:
    body = bytes(8 * MIB)
    with victim.bounded(96 * MIB):
        for _ in range(40):  # together more than all bodies may hold
            with victim.connect() as connection:
                connection.sendall(post(INFER, body, content_length=len(body) + 1))
        victim.check_unharmed()


ENDLESS: Mapping[str, Callable[[], tuple[bytes, bytes]]] = {
    "a path": lambda: (b"POST /v2/models/", b"r" * 65536),
    "a header": lambda: (b"POST /v2 HTTP/1.1\r\nx: ", b"v" * 65536),
    "headers": lambda: (b"POST /v2 HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
    "trailers": lambda: (frame(CHUNKED, b"2\r\n{}\r\n0\r\n"), b"a: b\r\n" * 10_000),
}


@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_head_without_end_is_refused_and_not_kept(
    victim: Victim, make: Callable[[], tuple[bytes, bytes]]
) -> None:
    head, piece = make()
    with victim.bounded(24 * MIB), victim.connect() as connection:
        try:
            connection.sendall(head)
            for part in repeat(piece, 30 * MIB):
                connection.sendall(part)
        except OSError:
            pass  # closed early, as it should be
        else:
            pytest.fail("the server read on")
    victim.check_unharmed()


def test_a_head_just_over_the_limit_is_told_so(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nx: " + b"v" * 65536)
        check_told(read_reply(connection), 431, "headers: given", "allowed 65536")
    victim.check_unharmed()


def test_garbage_behind_a_good_request_does_not_take_its_answer(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(post(INFER, BODY) + bytes(1000))
        reply = read_reply(connection)
        assert reply.status == 200, reply.body
        assert reply.headers["connection"] == "close"
    victim.check_unharmed()


def test_a_length_too_short_refuses_its_request_and_ends_the_connection(victim: Victim) -> None:
    with victim.connect() as connection:
        connection.sendall(post(INFER, BODY, content_length=5))
        check_told(read_reply(connection), 400, "body: not JSON")
        assert connection.recv(1) == b""
    victim.check_unharmed()


def test_a_caller_who_breaks_off_harms_nobody(victim: Victim) -> None:
    body, length = make_binary({"name": "image"}, bytes(100))
    whole = post(INFER, body, inference_header_content_length=length)
    for end in range(1, len(whole), 9):
        with victim.connect() as connection:
            connection.sendall(whole[:end])
            if end % 2:
                connection.shutdown(socket.SHUT_WR)
    victim.check_unharmed()
