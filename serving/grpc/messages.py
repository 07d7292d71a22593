"""The protocol's message classes, built from `oip.binpb` in a private descriptor pool.

With a private pool, a client library with the same names can live in the same process.
`serving.grpc.codec` knows what the messages mean, `serving.grpc.endpoint` how they travel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from core.errors import InvalidInput
from serving.grpc.message_counts import SMALL_BYTES, check_counts, check_parsed

SERVICE = "inference.GRPCInferenceService"
DESCRIPTORS = Path(__file__).with_name("oip.binpb")

# Protobuf makes message classes at run time, so type checkers do not know their fields.
Message = Any
MessageClass = Any
# Checks the route, version and size in bytes of a large ModelInferRequest. Raises SparingError.
CheckSize = Callable[[str, str, int], None]


@dataclass(frozen=True, slots=True)
class Method:
    """One remote procedure of the service."""

    path: str  # as in a call: /service/name
    name: str
    request: MessageClass
    streams: bool
    infers: bool  # whether its request is a ModelInferRequest

    def parse(self, raw: bytes, check_size: CheckSize | None = None) -> Message:
        """Parse a message. Raises InvalidInput, also for one of too many parts."""
        if self.infers and len(raw) > SMALL_BYTES:
            route, version = check_counts(raw)
            if check_size is not None:
                check_size(route, version, len(raw))
        try:
            message = self.request.FromString(raw)
        except DecodeError as error:
            raise InvalidInput(f"the request is not a protobuf message for {self.name}") from error
        if self.infers:
            check_parsed(message)
        return message


class Messages:
    """The pool, the service's methods and the classes of replies."""

    def __init__(self) -> None:
        self.pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
            self.add(file.SerializeToString())
        self.server_live = self._find("ServerLiveResponse")
        self.server_ready = self._find("ServerReadyResponse")
        self.model_ready = self._find("ModelReadyResponse")
        self.server_metadata = self._find("ServerMetadataResponse")
        self.model_metadata = self._find("ModelMetadataResponse")
        self.infer_request = self._find("ModelInferRequest")
        self.infer_response = self._find("ModelInferResponse")
        self.model_statistics = self._find("ModelStatisticsResponse")
        self.repository_index = self._find("RepositoryIndexResponse")
        self.stream_response = self._find("ModelStreamInferResponse")

    def add(self, serialized_file: bytes) -> None:
        """Add one more file to the pool, for reflection."""
        self.pool.AddSerializedFile(serialized_file)

    def methods(self) -> list[Method]:
        service: Any = self.pool.FindServiceByName(SERVICE)
        return [
            Method(
                f"/{SERVICE}/{method.name}",
                method.name,
                GetMessageClass(method.input_type),
                method.client_streaming,
                method.input_type.name == "ModelInferRequest",
            )
            for method in service.methods
        ]

    def _find(self, name: str) -> MessageClass:
        return GetMessageClass(self.pool.FindMessageTypeByName(f"inference.{name}"))
