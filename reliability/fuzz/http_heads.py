"""Heads and framing: benign spellings, whose answer is known, and wrong ones, after which it is
unknown where the next request begins.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from reliability.fuzz.damage import damage, split
from reliability.fuzz.valid_http import FORMS, choose_rows, expect_page
from reliability.samples import Sample
from reliability.wire.conversation import Conversation, Ends

UPGRADES = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Connection: upgrade\r\nUpgrade: TLS/1.2\r\n",
    b"Connection: Upgrade\r\nUpgrade: foo/2, bar\r\n",
)
HARMLESS = (
    b"Accept: */*\r\n", b"User-Agent: a\r\n", b"X-Empty:\r\n", b"x-tab:\ta\t\r\n",
    b"Accept-Encoding: gzip, br\r\n", b"Cookie: a=b; c=d\r\n", b"Content-Type: text/plain\r\n",
    b"X-Latin: \xe9\r\n", b"X-Long: " + b"v" * 3000 + b"\r\n", b"TE: trailers\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    b"traceparent: junk\r\n", b"Forwarded: for=1.2.3.4\r\n", b"Range: bytes=0-5\r\n",
    b"If-None-Match: *\r\n", b"X-Forwarded-For: 1.2.3.4\r\n", b"Origin: http://a\r\n",
)  # fmt: skip


def make_benign(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Another spelling of a valid request: the same answer, exactly once, and the next one too."""
    raw, right = rng.choice(FORMS)(rng, choose_rows(rng, samples))
    head, _, body = raw.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    kept = [f + b"\r\n" for f in fields.split(b"\r\n") if not f.startswith(b"content-length")]
    framing, sent = rng.choice(BODIES)(rng, body)
    lines = [*kept, *rng.sample(HARMLESS, rng.randint(0, 3)), framing]
    if rng.random() < 0.25:
        lines.append(rng.choice(UPGRADES))
    rng.shuffle(lines)
    request = line + b"\r\n" + b"".join(lines) + b"\r\n" + sent
    packets = split(rng, request) if rng.random() < 0.5 else [request]
    if rng.random() < 0.2:
        packets[-1] += b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n"
        return Conversation("http benign", packets, answers=2, rights=[right, expect_page])
    half_closes = rng.random() < 0.1
    return Conversation("http benign", packets, rights=[right], half_closes=half_closes)


def _by_length(rng: Random, body: bytes) -> tuple[bytes, bytes]:
    name = rng.choice((b"content-length", b"Content-Length", b"CONTENT-LENGTH"))
    zeros = b"0" * rng.choice((0, 0, 0, 3))
    return name + b": " + zeros + b"%d\r\n" % len(body), body


def _in_chunks(rng: Random, body: bytes) -> tuple[bytes, bytes]:
    chunks = bytearray()
    for piece in split(rng, body):
        extension = rng.choice((b"", b"", b";a", b";a=b", b';a="b c"'))
        size = b"%x" % len(piece) if rng.random() < 0.8 else b"00%X" % len(piece)
        chunks += size + extension + b"\r\n" + piece + b"\r\n"
    trailer = rng.choice((b"", b"", b"X-Sum: 1\r\n"))
    return b"Transfer-Encoding: chunked\r\n", bytes(chunks) + b"0\r\n" + trailer + b"\r\n"


BODIES: Sequence[Callable[[Random, bytes], tuple[bytes, bytes]]] = (
    _by_length, _by_length, _in_chunks,
)  # fmt: skip


# Framing that is wrong ---------------------------------------------------------------------------

WRONG_FIELDS = (
    b"Content-Length: 5\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: +3\r\n", b"Content-Length: 0x10\r\n",
    b"Content-Length: 99999999999999999999999\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length:\r\n", b"Content-Length: 1 2\r\n", b"Content-Length: 100000000\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n", b"Host: other\r\n", b"Host: a b\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: something\r\n", b"Connection: close, close\r\n", b"Connection: keep-alive, x\r\n",
    b" folded: yes\r\n", b"x: a\r\n b\r\n", b"x\r\n", b": nameless\r\n", b"x y: z\r\n",
    b"x: a\0b\r\n", b"x: a\rb\r\n", b"x: a\nb\r\n", b"\xff\xfe: z\r\n", b"x: \x7f\x01\r\n",
    b"Content-Type: application/json; charset=utf-16\r\n", b"a: b\r\n" * 300,
    b"x: " + b"v" * 70_000 + b"\r\n", b"n" * 5000 + b": v\r\n", b"Upgrade: h2c\r\n",
    b"Authorization: Bearer x\r\n", b"Authorization: " + b"B" * 5000 + b"\r\n",
)  # fmt: skip
LINES = (
    b"HEAD /livez HTTP/1.1", b"HEAD /v1/routes HTTP/1.1", b"GET / HTTP/1.1", b"POST  /v2 HTTP/1.1",
    b"GET /v2 HTTP/1.0", b"GET /v2 HTTP/0.9", b"GET /v2",
    b"GET /v2 HTTP/2.0", b"GET /v2 HTTP/1.10", b"get /v2 HTTP/1.1", b"BREW /v2 HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"CONNECT a:80 HTTP/1.1", b"TRACE /v2 HTTP/1.1", b"PUT /v2 HTTP/1.1",
    b"DELETE /v1/routes HTTP/1.1", b"GET http://t/v2 HTTP/1.1", b"GET http://t HTTP/1.1",
    b"GET //v2 HTTP/1.1", b"GET /../v2 HTTP/1.1", b"GET /v2?x=%zz HTTP/1.1",
    b"GET /v2#x HTTP/1.1", b"GET ?x HTTP/1.1", b"GET \x00 HTTP/1.1", b"GET /\xff HTTP/1.1",
    b"GET /v2/models/%2e%2e/infer HTTP/1.1", b"GET /" + b"a" * 5000 + b" HTTP/1.1",
    b"POST /v2/models/" + b"%c3" * 200 + b"/infer HTTP/1.1", b"GET /v2/models/x\ty HTTP/1.1",
    b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", b"\r\n\r\n", b" ",
    b"GET /v1/routes?" + b"a&" * 400 + b" HTTP/1.1", b"QUERY /v2 HTTP/1.1", b"GET", b"\0" * 20,
    b"GET /v2/models/x/versions/" + b"9" * 300 + b"/infer HTTP/1.1", b"GET *",
    b"POST /v2/repository/index HTTP/1.1", b"GET /v2/models/stats HTTP/1.1",
    b"POST /v2/repository/models/x/unload HTTP/1.1",
)  # fmt: skip
CHUNK_FAULTS: Mapping[bytes, bytes] = {
    b"negative": b"-5\r\nhello\r\n0\r\n\r\n", b"huge": b"f" * 17 + b"\r\nhello\r\n",
    b"large": b"7fffffff\r\nhello", b"longer": b"2\r\nhello\r\n0\r\n\r\n",
    b"no end": b"5\r\nhello\r\n", b"bare LF": b"5\nhello\n0\n\n", b"text": b"xyz\r\nhello\r\n",
    b"blank": b" 5\r\nhello\r\n0\r\n\r\n", b"empty": b"\r\n0\r\n\r\n", b"0x": b"0x5\r\nhello\r\n",
    b"long extension": b"5;" + b"e" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"trailers": b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 500 + b"\r\n",
    b"framing in trailers": b"2\r\n{}\r\n0\r\nContent-Length: 5\r\nHost: x\r\n\r\n",
    b"many": b"1\r\n \r\n" * 2000 + b"2\r\n{}\r\n0\r\n\r\n", b"no CRLF": b"5\r\nhello0\r\n\r\n",
}  # fmt: skip


def mutate_fields(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A header that is malformed, or contradicts the body."""
    raw, _ = rng.choice(FORMS)(rng, choose_rows(rng, samples))
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if rng.random() < 0.5:
        lines = [line for line in lines if not line.startswith(b"content-length")]
    if rng.random() < 0.2:
        lines = [line for line in lines if not line.startswith(b"host")]
    for field in rng.sample(WRONG_FIELDS, rng.choice((1, 1, 2, 3))):
        lines.insert(rng.randint(1, len(lines)), field[:-2])
    end = rng.choice((b"\r\n",) * 8 + (b"\n", b"\r"))
    return _closed(rng, "http headers", end.join([*lines, b"", body]))


def mutate_line(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A malformed request line, or an unknown path."""
    raw, _ = rng.choice(FORMS)(rng, choose_rows(rng, samples))
    line, _, rest = raw.partition(b"\r\n")
    if rng.random() < 0.6:
        line = rng.choice(LINES)
        rest = rest if rng.random() < 0.5 else b"host: t\r\n\r\n"
    else:
        line = damage(rng, line)
    return _closed(rng, "http request line", line + b"\r\n" + rest)


def mutate_chunks(rng: Random, samples: Sequence[Sample]) -> Conversation:
    path = f"/v2/models/{rng.choice(samples).route}/infer".encode()
    head = b"POST " + path + b" HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
    body = rng.choice(list(CHUNK_FAULTS.values()))
    if rng.random() < 0.3:
        body = damage(rng, body)
    return _closed(rng, "http chunks", head + body)


def mutate_bytes(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Any damage, anywhere in a request."""
    raw, _ = rng.choice(FORMS)(rng, choose_rows(rng, samples))
    head, end, body = raw.partition(b"\r\n\r\n")
    raw = damage(rng, head + end) + body if rng.random() < 0.6 else damage(rng, raw)
    return _closed(rng, "http bytes", raw)


def mutate_pipeline(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Several requests at once, of which some are damaged."""
    parts: list[bytes] = []
    for _ in range(rng.randint(2, 6)):
        raw, _ = rng.choice(FORMS)(rng, choose_rows(rng, samples))
        parts.append(damage(rng, raw) if rng.random() < 0.3 else raw)
    return _closed(rng, "http pipeline", b"".join(parts))


def abandon(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A client that disconnects during its request, or after it."""
    raw, _ = rng.choice(FORMS)(rng, choose_rows(rng, samples))
    if rng.random() < 0.7:
        raw = raw[: rng.randrange(len(raw))]
    return Conversation("http abandoned", split(rng, raw), Ends.ABANDONED)


def _closed(rng: Random, kind: str, raw: bytes) -> Conversation:
    packets = split(rng, raw) if rng.random() < 0.2 else [raw]
    timed = any(name in raw for name in (b"timeout", b"energy_mj"))
    return Conversation(kind, packets, Ends.CLOSED, timed=timed, bodiless=raw.startswith(b"HEAD "))
