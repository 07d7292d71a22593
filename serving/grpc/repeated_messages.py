"""Caches of repeated messages: a client sends the same bytes before the pixels of every picture.

A parsed and checked request is kept under the exact bytes that come before its only raw input. The
bytes of a response are kept under everything in it except the outputs. Both caches are bounded, and
hold only short messages of numbers, without a request id, that end with their one raw input. All
other messages go through protobuf each time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from core.manifest import Manifest
from core.messages import Reply, Request
from serving.grpc.codec import ParsedRequest, encode_tensors, pack_output
from serving.grpc.messages import MessageClass
from serving.oip.outputs import OutputTensor, output_tensors, similar_rows

_MAX_MESSAGES = 256
_MAX_START_BYTES = 2048

# Tags of fields whose content comes after its length.
_RAW_INPUT = 0x3A  # ModelInferRequest.raw_input_contents
_BEFORE_IT = frozenset({0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32})  # fields 1 to 6
_ID = b"\x1a"  # ModelInferResponse.id
_RAW_OUTPUT = b"\x32"  # ModelInferResponse.raw_output_contents


class KnownRequest(NamedTuple):
    """A checked request without its tensor, which starts where the remembered bytes end."""

    digest: bytes  # of the route that it was checked against
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    elements: int
    parsed: ParsedRequest

    def read(self, raw: bytes, start: int) -> ParsedRequest:
        """Return the same request with the tensor of these bytes."""
        array = np.frombuffer(raw, self.dtype, self.elements, start).reshape(self.shape)
        if not array.flags.aligned:
            array = array.copy()  # runtimes may assume alignment
        old, timeout_s, id, outputs, is_raw = self.parsed
        request = Request(
            old.route,
            {self.name: array},
            old.version,
            None,
            old.energy_mj,
            old.controls,
            old.no_cache,
            old.partial,
        )
        return ParsedRequest(request, timeout_s, id, outputs, is_raw)


class RepeatedRequests:
    """Remembered unary ModelInfer requests."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownRequest] = {}

    def find(self, raw: bytes, start: int) -> KnownRequest | None:
        """Return the remembered request whose message begins like this one, if there is one."""
        return self._known.get(raw[:start]) if start else None

    def remember(self, raw: bytes, start: int, parsed: ParsedRequest, manifest: Manifest) -> None:
        """Remember a request; `start` is what `find_raw_input` found."""
        if not start or parsed.id:
            return
        ((name, array),) = parsed.request.inputs.items()
        if array.dtype.kind not in "uif" or not array.size:  # BYTES, BOOL: these need checks
            return
        bare = parsed._replace(request=parsed.request._replace(inputs={}))
        if len(self._known) >= _MAX_MESSAGES:
            self._known.clear()
        self._known[raw[:start]] = KnownRequest(
            manifest.digest, name, array.dtype, array.shape, array.size, bare
        )


class RepeatedReplies:
    """Remembered ModelInferResponses with raw outputs."""

    def __init__(self, response: MessageClass) -> None:
        self._response = response
        self._starts: dict[tuple[object, ...], bytes] = {}

    def write(self, reply: Reply, manifest: Manifest, names: Sequence[str], id: str) -> bytes:
        """Return the bytes that protobuf would write, except that the id may be in another
        place.
        """
        tensors = output_tensors(reply, manifest, names)
        parts = [self._start(reply, tensors)]
        if id:
            parts += _field(_ID, id.encode())
        for tensor in tensors:
            parts += _field(_RAW_OUTPUT, pack_output(tensor))
        return b"".join(parts)

    def _start(self, reply: Reply, tensors: Sequence[OutputTensor]) -> bytes:
        """Return everything but id and outputs; those fields may follow in any order."""
        name = (
            reply.route,
            reply.version,
            reply.digest,
            reply.certificate,
            reply.energy_source,
            similar_rows(reply),
            *reply.errors.items(),
            *[(tensor.name, tensor.datatype, tensor.array.shape) for tensor in tensors],
        )
        start = self._starts.get(name)
        if start is None:
            message = encode_tensors(self._response, reply, tensors, request_id="", raw=True)
            message.ClearField("raw_output_contents")
            if len(self._starts) >= _MAX_MESSAGES:
                self._starts.clear()
            start = self._starts[name] = message.SerializeToString()
        return start


def find_raw_input(raw: bytes) -> int:
    """Return where the content of the only raw input starts, if it ends a ModelInferRequest and
    comes early; otherwise 0. Messages with equal bytes up to there parse to the same request.
    """
    place = 0
    try:
        while place < _MAX_START_BYTES:
            tag = raw[place]
            size = raw[place + 1]
            place += 2
            if size >= 0x80:
                size, place = _read_size(raw, place - 1)
            if tag == _RAW_INPUT:
                return place if place + size == len(raw) else 0
            if tag not in _BEFORE_IT:
                return 0
            place += size
    except IndexError:
        pass
    return 0


def _read_size(raw: bytes, place: int) -> tuple[int, int]:
    """Return a length of up to four bytes, seven bits in each, and the position after it."""
    size = 0
    for shift in (0, 7, 14, 21):
        byte = raw[place]
        place += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size, place
    raise IndexError


def _field(tag: bytes, content: bytes) -> tuple[bytes, bytes, bytes]:
    size = len(content)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return tag, bytes(length), content
