"""A real server to be sent bad input: every refusal must be told well and leave no mark on it."""

import json
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.text_route import write_text_route
from harness.tiny_routes import make_pictures, write_route
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.raw_http import RawReply

INFER = "/v2/models/tiny/infer"
PREDICT = "/v1/routes/tiny/predict"
MIB = 2**20
PICTURE = make_pictures(1, seed=21)
TENSOR: dict[str, Any] = {
    "name": "image",
    "datatype": "UINT8",
    "shape": [1, 28, 28],
    "data": PICTURE.ravel().tolist(),
}
GOOD: dict[str, Any] = {"inputs": [TENSOR], "parameters": {"no_cache": True}}


def post(path: str, body: bytes, **headers: str | int) -> bytes:
    """A whole request; a header's underscores become hyphens. A given content length may lie."""
    headers.setdefault("content_length", len(body))
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"POST {path} HTTP/1.1\r\nhost: t\r\n{''.join(lines)}\r\n".encode() + body


def make_binary(entry: dict[str, Any], *blobs: bytes) -> tuple[bytes, int]:
    """A body with tensors behind its JSON, and the length of that JSON."""
    header = json.dumps({"inputs": [entry]}).encode()
    return b"".join([header, *blobs]), len(header)


def make_png(width: int, height: int, packed: bytes = b"", *, header: bytes | None = None) -> bytes:
    """A grey PNG by hand: what it declares, and the compressed lines that it has."""
    declared = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", declared if header is None else header), (b"IDAT", packed), (b"IEND", b"")]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        parts.append(struct.pack(">I", len(data)) + kind + data)
        parts.append(struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def read_reply(connection: socket.socket) -> RawReply:
    """One answer, whole: an end of the connection before it raises."""
    answer = b""
    while True:
        head, found, body = answer.partition(b"\r\n\r\n")
        if found:
            lines = head.decode("latin-1").split("\r\n")
            pairs = (line.split(":", 1) for line in lines[1:])
            headers = {name.lower(): value.strip() for name, value in pairs}
            if len(body) >= int(headers["content-length"]):
                return RawReply(int(lines[0].split(" ")[1]), headers, body)
        more = connection.recv(65536)
        if not more:
            raise ConnectionResetError(f"the answer broke off: {answer[:200]!r}")
        answer += more


class Victim:
    """A server with the routes `tiny`, which knows a poison picture, and `text`, of BYTES."""

    def __init__(self, server: LiveServer, directory: Path) -> None:
        self.server = server
        route = load_route(directory, OnnxDevice())
        (row,) = run_offline(route.pipeline, {"image": PICTURE}, OnnxDevice())
        assert row.outcome is not None
        self._right = row.outcome.outputs["probabilities"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.http_port), timeout=10)

    def send(self, raw: bytes) -> RawReply:
        with self.connect() as connection:
            connection.sendall(raw)
            return read_reply(connection)

    def check_refused(self, raw: bytes, status: int, *words: str) -> None:
        """The status, one sentence with these words and nothing else, and an unharmed server."""
        check_told(self.send(raw), status, *words)
        self.check_unharmed()

    def check_unharmed(self) -> None:
        """Alive, ready, right, and nothing in its log that was not foreseen."""
        assert self.server.process.poll() is None
        assert self.server.get_json("/v2/health/ready") == {"ready": True}
        reply = self.send(post(INFER, json.dumps(GOOD).encode()))
        assert reply.status == 200, reply.body
        outputs: Any = reply.json()["outputs"]
        data = next(one["data"] for one in outputs if one["name"] == "probabilities")
        np.testing.assert_array_equal(np.array(data, np.float32), self._right)
        log = self.server.log.read_text()
        assert "Traceback" not in log, log

    @contextmanager
    def bounded(self, limit_bytes: int) -> Iterator[None]:
        """The server's resident memory never rises by more than this meanwhile."""
        process = Path(f"/proc/{self.server.process.pid}")
        (process / "clear_refs").write_text("5")  # the peak starts anew
        before = self.server.resident_bytes()
        yield
        found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        assert found is not None
        assert int(found[1]) * 1024 - before < limit_bytes


def check_told(reply: RawReply, status: int, *words: str) -> None:
    """A refusal: this status, and a body that is a sentence with these words."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    table = reply.json()
    assert list(table) == ["error"]
    sentence = table["error"]
    assert isinstance(sentence, str) and 10 < len(sentence) < 500
    for word in words:
        assert word in sentence


@contextmanager
def serve_victim(root: Path) -> Iterator[Victim]:
    directory = write_route(root, poison=True)
    write_text_route(root)
    with LiveServer(root) as server:
        yield Victim(server, directory)
