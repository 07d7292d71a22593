"""Health and reflection of the gRPC endpoint, without a transport: from bytes to bytes.

Health is implemented here, because the library's watchers do not end with a drain and do not
outlive each other. Reflection answers in both of its versions, which have the same messages.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from core.errors import InvalidInput
from serving.grpc.messages import SERVICE, Message, Messages

HEALTH = "grpc.health.v1.Health"
REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"
REFLECTION = "grpc.reflection.v1.ServerReflection"
_LOOK_S = 1.0  # between two looks at a watched state
_MAX_BYTES = 4096  # in a health or reflection request

_States = health_pb2.HealthCheckResponse


class Health:
    """The states of the server and its services: serving or not serving."""

    def __init__(self, draining: asyncio.Event, is_ready: Callable[[], bool]) -> None:
        self._draining = draining
        self._is_ready = is_ready
        self._known = {"", SERVICE, HEALTH}

    def check(self, raw: bytes) -> bytes | None:
        """Return the response; None if no service has this name. Raises InvalidInput."""
        name = self._read(raw)
        return self._state(name) if name in self._known else None

    async def watch(self, raw: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the state now and whenever it changes. Raises InvalidInput."""
        name = self._read(raw)
        told = b""
        while True:
            # Read before the state: draining may begin while a state is being sent.
            draining = self._draining.is_set()
            state = self._state(name)
            if state != told:
                yield state
            told = state
            if draining:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), _LOOK_S)

    def _read(self, raw: bytes) -> str:
        name: str = _parse(health_pb2.HealthCheckRequest, raw).service
        return name

    def _state(self, name: str) -> bytes:
        ready = self._is_ready() and not self._draining.is_set()
        state = _States.SERVING if ready else _States.NOT_SERVING
        answer = _States(status=state if name in self._known else _States.SERVICE_UNKNOWN)
        raw: bytes = answer.SerializeToString()
        return raw


class Reflection:
    """Describes every service that it lists."""

    def __init__(self, messages: Messages) -> None:
        files = [file.DESCRIPTOR.serialized_pb for file in (health_pb2, reflection_pb2)]
        for file in (*files, _rename(files[1])):
            messages.add(file)
        names = (SERVICE, HEALTH, REFLECTION_ALPHA, REFLECTION)
        self._servicer: Any = reflection.aio.ReflectionServicer(names, pool=messages.pool)

    async def answer(self, raws: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield one response for each request. Raises InvalidInput."""

        async def requests() -> AsyncGenerator[Message, None]:
            async for raw in raws:
                yield _parse(reflection_pb2.ServerReflectionRequest, raw)

        async for answer in self._servicer.ServerReflectionInfo(requests(), None):
            yield answer.SerializeToString()


def _rename(serialized_file: bytes) -> bytes:
    """Rename the file to the protocol's first stable version, whose messages are equal."""
    old, new = "grpc.reflection.v1alpha", "grpc.reflection.v1"
    file = FileDescriptorProto.FromString(serialized_file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = new
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    return file.SerializeToString()


def _parse(kind: Any, raw: bytes) -> Message:
    if len(raw) > _MAX_BYTES:
        raise InvalidInput(f"the request: given {len(raw)} bytes, allowed {_MAX_BYTES}")
    try:
        return kind.FromString(raw)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise InvalidInput(f"the request is not a protobuf message {name}") from None
