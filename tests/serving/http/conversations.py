"""What clients say on a connection, whole and cut, well and badly: all must be answered alike."""

from collections.abc import Mapping, Sequence

from serving.http.exchange import MAX_BUFFERED_BYTES
from tests.serving.http.wire import INFER, post, write_body

KNOWN, OTHER = post(write_body(1.0)), post(write_body(2.0))
NEW = post(write_body(3.0))
GET = post(b"", url=b"/v2", method=b"GET")
BAD = post(b'{"inputs": 5}')
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(write_body(1.0)), write_body(1.0))
Packets = Sequence[bytes]
PAGES = [
    b"/livez",
    b"/readyz",
    b"/v2",
    b"/v2/models/toy",
    b"/v2/models/toy/ready",
    b"/openapi.json",
    b"/nothing",
    b"/v2/models/other",
]

# Name -> packets and the number of answers. 1.0 and 2.0 are known, other values are not.
SAME: Mapping[str, tuple[Packets, int]] = {
    "known": ([KNOWN], 1),
    "known, then known": ([KNOWN, OTHER], 2),
    "known and known in one packet": ([KNOWN + OTHER], 2),
    "known and new": ([KNOWN + NEW], 2),
    "new and known": ([NEW + KNOWN], 2),
    "new, known, new, known": ([NEW + KNOWN + post(write_body(4.0)) + OTHER], 4),
    "known and another endpoint": ([KNOWN + post(b"", url=b"/livez", method=b"GET")], 2),
    "another endpoint and known": ([post(b"", url=b"/livez", method=b"GET") + KNOWN], 2),
    "known and bad and known": ([KNOWN + BAD + KNOWN], 3),
    "every byte a packet": ([bytes([byte]) for byte in KNOWN + NEW], 2),
    "head and body": ([KNOWN[:-90], KNOWN[-90:]], 1),
    "several rows": ([post(write_body(1.0, 2.0))] * 2, 2),
    "no cache": ([post(write_body(1.0, no_cache=True))], 1),
    "a confidence that suffices": ([post(write_body(1.0, min_confidence=0.5))] * 2, 2),
    "a confidence that does not": ([post(write_body(1.0, min_confidence=0.95))] * 2, 2),
    "a timeout": ([post(write_body(1.0, timeout_ms=5000))], 1),
    "a timeout of nothing": ([post(write_body(1.0, timeout_ms=-1))], 1),
    "not JSON": ([post(b"{")], 1),
    "the wrong input": ([BAD], 1),
    "no length": ([post(b"", length=b"")], 1),
    "no body": ([post(b"")], 1),
    "a length that is too short": ([post(write_body(1.0)[:20])], 1),
    "chunks": ([post(CHUNKS, CHUNKED, length=b"")], 1),
    "packed": ([post(write_body(1.0), b"content-encoding: gzip")], 1),
    "a lying inference length": (
        [post(write_body(1.0), b"inference-header-content-length: 5000")],
        1,
    ),
    "an expectation": ([post(write_body(1.0), b"expect: 100-continue")], 1),
    "a last request": ([post(write_body(1.0), b"connection: close")], 1),
    "HTTP/1.0": ([post(write_body(1.0), version=b"1.0")], 1),
    "GET": ([post(write_body(1.0), method=b"GET")], 1),
    "an encoded path": ([post(write_body(1.0), url=b"/v2/models/t%6fy/infer")], 1),
    "a query": ([post(write_body(1.0), url=INFER + b"?a=b")], 1),
    "a body that is too large": ([post(bytes(MAX_BUFFERED_BYTES))], 1),
    "a body beyond what is held": ([post(b" " * MAX_BUFFERED_BYTES + write_body(1.0))], 1),
    "pages": ([post(b"", url=page, method=b"GET") for page in PAGES], len(PAGES)),
    "the index": ([post(b"", url=b"/v2/repository/index")], 1),
    "a change": ([post(b"", url=b"/v2/repository/models/toy/unload")], 1),
    "pictures": ([post(b"x", url=b"/v1/routes/toy/predict"), KNOWN], 2),
    "pictures in chunks": ([post(CHUNKS, CHUNKED, url=b"/v1/routes/toy/predict", length=b"")], 1),
    "another method": ([post(b"", url=b"/v2", method=b"DELETE")], 1),
    "a version that needs escapes": (
        [
            post(write_body(1.0), url=b"/v2/models/auto:toys/versions/1%3Fx/infer"),
            post(write_body(1.0), url=b"/v2/models/auto:toys/versions/1?x/infer"),
        ],
        2,
    ),
    "a task": ([post(write_body(value), url=b"/v2/models/auto:toys/infer") for value in (1, 5)], 2),
}
