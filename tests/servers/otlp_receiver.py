"""A collector for tests: takes spans as OTLP over HTTP sends them, protobuf, and keeps them."""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from harness.services.otlp_sink import OtlpSink
from harness.waiting import wait_until


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


class OtlpReceiver(OtlpSink):
    """`with OtlpReceiver() as receiver:`; what came is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.resource: dict[str, str | int] = {}
        self._spans: list[Span] = []

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """Of one trace or of all, in order of their beginnings."""
        found = [span for span in [*self._spans] if trace_id in (None, span.trace_id)]
        return sorted(found, key=lambda span: span.began_ns)

    def wait_for(self, trace_id: str) -> list[Span]:
        """The spans of a trace once its request's is there."""
        self.wait_until(lambda: any(span.of_server for span in self.spans(trace_id)))
        return self.spans(trace_id)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        wait_until(happened, "the spans do not arrive")

    def take(self, body: bytes) -> None:
        super().take(body)
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
