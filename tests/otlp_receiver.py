"""A collector for tests: takes spans as OTLP over HTTP sends them, protobuf, and keeps them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Span:
    """What arrived of one span; ids in hexadecimal digits, "" for no parent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    facts: dict[str, str | int]
    began_ns: int
    ended_ns: int
    failed: bool
    message: str  # of the status
    of_server: bool


class OtlpReceiver:
    """`with OtlpReceiver() as receiver:` listens on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.resource: dict[str, str | int] = {}
        self._spans: list[Span] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "OtlpReceiver":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """Of one trace or of all, in order of their beginnings."""
        found = [span for span in [*self._spans] if trace_id in (None, span.trace_id)]
        return sorted(found, key=lambda span: span.began_ns)

    def wait_for(self, trace_id: str) -> list[Span]:
        """The spans of a trace once its request's is there."""
        self.wait_until(lambda: any(span.of_server for span in self.spans(trace_id)))
        return self.spans(trace_id)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < deadline, self.spans()
            time.sleep(0.02)

    def _take(self, body: bytes) -> None:
        self.bodies.append(body)
        message = ExportTraceServiceRequest.FromString(body)
        for of_resource in message.resource_spans:
            self.resource = {one.key: _read(one) for one in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                self._spans += [
                    Span(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        {one.key.removeprefix("sparing."): _read(one) for one in span.attributes},
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        span.status.message,
                        span.kind == span.SPAN_KIND_SERVER,
                    )
                    for span in of_scope.spans
                ]


def _read(pair: KeyValue) -> str | int:
    value = pair.value
    return value.int_value if value.HasField("int_value") else value.string_value
