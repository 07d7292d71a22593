"""Callers over HTTP and gRPC that count every request that was sent and not answered.

Each keeps a connection to one of several servers, as a client behind a balancer does. A server that
says that it closes, refuses a connection or, over gRPC, is not available is left for the next one;
such a request was not accepted, and is sent once more. Everything else counts as failed.
"""

import http.client
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import grpc

from harness.load.rpc import INFER

TIMEOUT_S = 30.0
BINARY = "application/octet-stream"


@dataclass(slots=True)
class Tally:
    """Requests by what became of them; `failures` has up to ten reasons."""

    answered: int = 0
    retried: int = 0  # refused by a server that drains, then answered by another one
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> None:
        with self.lock:
            self.answered += 1

    def retry(self) -> None:
        with self.lock:
            self.retried += 1

    def fail(self, reason: str) -> None:
        with self.lock:
            self.failed += 1
            self.failures = [*self.failures, reason][:10]


class Callers:
    """Threads that send the same request again and again, until `stop`."""

    def __init__(
        self,
        ports: tuple[Sequence[int], Sequence[int]],
        bodies: tuple[bytes, bytes],
        path: str,
        threads: int,
    ) -> None:
        """Ports and bodies are those of HTTP and of gRPC; `threads` call over each of them."""
        self.http, self.grpc = Tally(), Tally()
        self._stopping = threading.Event()
        self._path, self._bodies = path, bodies
        self._threads = [
            threading.Thread(target=self._ask, args=(tally, sender(own, number)), daemon=True)
            for number in range(threads)
            for tally, sender, own in (
                (self.http, self._over_http, ports[0]),
                (self.grpc, self._over_grpc, ports[1]),
            )
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, tally: Tally, sender: "Sender") -> None:
        """Send until told to stop; each request goes to one server or, if refused, to the next."""
        while not self._stopping.is_set():
            for attempt in range(2):
                refusal = sender.send()
                if refusal is None:
                    tally.answer()
                    break
                if attempt or not refusal.refused:
                    tally.fail(refusal.reason)
                    break
                tally.retry()
        sender.close()

    def _over_http(self, ports: Sequence[int], number: int) -> "Sender":
        return HttpSender(ports, number, self._path, self._bodies[0])

    def _over_grpc(self, ports: Sequence[int], number: int) -> "Sender":
        return GrpcSender(ports, number, self._bodies[1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer; `refused` if the server had not accepted the request."""

    reason: str
    refused: bool


class Sender:
    """One client with a connection to one server at a time."""

    def __init__(self, ports: Sequence[int], number: int) -> None:
        self._ports = cycle([*ports[number % len(ports) :], *ports[: number % len(ports)]])
        self._connection: Any = None

    def send(self) -> Refusal | None:
        """Send one request; None if the answer is right."""
        raise NotImplementedError

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class HttpSender(Sender):
    """Over HTTP/1.1 with keep-alive."""

    def __init__(self, ports: Sequence[int], number: int, path: str, body: bytes) -> None:
        super().__init__(ports, number)
        self._path, self._body = path, body

    def send(self) -> Refusal | None:
        try:
            self._connect()
        except ConnectionRefusedError:
            self.close()
            return Refusal("connection refused", refused=True)
        try:
            self._connection.request(
                "POST", self._path, self._body, {"Content-Type": "application/json"}
            )
            reply = self._connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Refusal(f"HTTP: {type(error).__name__}: {error}", refused=False)
        if reply.getheader("connection", "").lower() == "close":
            self.close()
        if reply.status == 200:
            return None
        self.close()
        return Refusal(f"HTTP {reply.status}: {body[:200]!r}", refused=False)

    def _connect(self) -> None:
        if self._connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", next(self._ports), TIMEOUT_S)
            connection.timeout = TIMEOUT_S
            self._connection = connection
            connection.connect()


class GrpcSender(Sender):
    """Over one gRPC channel."""

    def __init__(self, ports: Sequence[int], number: int, body: bytes) -> None:
        super().__init__(ports, number)
        self._body = body

    def send(self) -> Refusal | None:
        if self._connection is None:
            own = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            self._connection = grpc.insecure_channel(f"127.0.0.1:{next(self._ports)}", own)
        try:
            self._connection.unary_unary(INFER)(self._body, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            self.close()
            code, details = error.code(), error.details()
            return Refusal(f"gRPC {code}: {details}", code is grpc.StatusCode.UNAVAILABLE)
        return None
