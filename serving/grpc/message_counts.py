"""Counts the parts of a large ModelInferRequest on its bytes, before protobuf builds objects.

Protobuf and Python need microseconds for a parameter or tensor of three bytes, so that a message
within the size limit could occupy the server for seconds. Only the headers of fields are read here,
and no more of them than are allowed. `serving.grpc.messages` parses the messages that pass.
"""

from collections.abc import Iterator
from typing import Any

from core.errors import InvalidInput

MAX_TENSORS = 256  # inputs, outputs and raw contents, each
MAX_PARAMETERS = 256  # in the request, and in each tensor
MAX_DIMENSIONS = 64
MAX_FIELDS = 32_768  # in the whole message; each element of bytes_contents counts
SMALL_BYTES = 4096  # messages up to this size are parsed first, then counted

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
# Fields by number: of ModelInferRequest, and of its tensors.
_NAMES = {4: "parameters", 5: "inputs", 6: "outputs", 7: "raw_input_contents"}
_LIMITS = {4: MAX_PARAMETERS, 5: MAX_TENSORS, 6: MAX_TENSORS, 7: MAX_TENSORS}
_ROUTE, _VERSION, _INPUT, _OUTPUT = 1, 2, 5, 6
_NAME, _MAX_NAME_BYTES = 1, 80
_CONTENTS = 5
# Parts of a tensor by number: name, limit, and the least bytes of a field for one more part.
_PARTS = {
    _INPUT: {3: ("shape", MAX_DIMENSIONS, 10), 4: ("parameters", MAX_PARAMETERS, 2**31)},
    _OUTPUT: {2: ("parameters", MAX_PARAMETERS, 2**31)},
}


Field = tuple[int, int, int]  # number, start of the content, size; size 0 for a number


class _Budget:
    """The number of fields that a message may still have."""

    def __init__(self) -> None:
        self.left = MAX_FIELDS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise InvalidInput(
                f"the request: given more than {MAX_FIELDS} fields, allowed {MAX_FIELDS} or fewer"
            )


def check_counts(raw: bytes) -> tuple[str, str]:
    """Refuse a ModelInferRequest of too many parts; return its route and version.

    Raises InvalidInput. Bytes that are not a protobuf message are refused here or by the parser.
    """
    budget = _Budget()
    counts = dict.fromkeys(_NAMES, 0)
    names = {_ROUTE: b"", _VERSION: b""}
    for field in _read_fields(raw, 0, len(raw), budget):
        number, start, size = field
        if number in names:
            names[number] = raw[start : start + size]
        if number not in counts:
            continue
        counts[number] += 1
        if counts[number] > _LIMITS[number]:
            raise too_many(_NAMES[number], _LIMITS[number])
        if number in _PARTS:
            _check_tensor(raw, field, budget)
    return names[_ROUTE].decode(errors="replace"), names[_VERSION].decode(errors="replace")


def check_parsed(message: Any) -> None:
    """Refuse a small, parsed message of too many parts. Raises InvalidInput."""
    if len(message.parameters) > MAX_PARAMETERS:
        raise too_many("parameters", MAX_PARAMETERS)
    if len(message.inputs) > MAX_TENSORS:
        raise too_many("inputs", MAX_TENSORS)
    if len(message.outputs) > MAX_TENSORS:
        raise too_many("outputs", MAX_TENSORS)


def too_many(name: str, limit: int) -> InvalidInput:
    """Return the error for a list that is too long."""
    return InvalidInput(f"{name}: given more than {limit}, allowed {limit} or fewer")


def _check_tensor(raw: bytes, tensor: Field, budget: _Budget) -> None:
    kind, tensor_start, tensor_size = tensor
    path = _NAMES[kind]
    parts = _PARTS[kind]
    counts = dict.fromkeys(parts, 0)
    for number, start, size in _read_fields(raw, tensor_start, tensor_start + tensor_size, budget):
        if number == _NAME:
            path = _name_tensor(path, raw[start : start + size])
        elif number in parts:
            name, limit, least_bytes = parts[number]
            counts[number] += 1 + size // least_bytes
            if counts[number] > limit:
                raise too_many(f"{path}.{name}", limit)
        elif number == _CONTENTS and kind == _INPUT:
            for _ in _read_fields(raw, start, start + size, budget):
                pass


def _name_tensor(path: str, name: bytes) -> str:
    """Return a tensor's path for an error sentence, with its name if that is short and plain."""
    text = name[:_MAX_NAME_BYTES].decode("ascii", "replace")
    plain = len(name) < _MAX_NAME_BYTES and text.isprintable()
    return f"{path.partition('.')[0]}.{text}" if plain else path


def _read_fields(raw: bytes, place: int, end: int, budget: _Budget) -> Iterator[Field]:
    while place < end:
        budget.spend()
        tag, place = _read_varint(raw, place, end)
        kind = tag & 7
        if tag < 8:  # there is no field 0
            raise _broken()
        if kind == _LENGTH:
            size, place = _read_varint(raw, place, end)
            if size > end - place:
                raise _broken()
            yield tag >> 3, place, size
            place += size
        elif kind == _VARINT:
            yield tag >> 3, place, 0
            _, place = _read_varint(raw, place, end)
        elif kind in (_FIXED64, _FIXED32):
            yield tag >> 3, place, 0
            place += 8 if kind == _FIXED64 else 4
        else:  # a group, which the protocol does not use
            raise _broken()


def _read_varint(raw: bytes, place: int, end: int) -> tuple[int, int]:
    """Return a number of seven bits in each byte, and the position after it."""
    if place < end and raw[place] < 0x80:
        return raw[place], place + 1
    number = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if place >= end:
            break
        byte = raw[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise _broken()


def _broken() -> InvalidInput:
    return InvalidInput("the request is not a protobuf message for ModelInfer")
