"""Converts Open Inference Protocol tensors and parameters to arrays and request fields.

Declared names, datatypes and shapes are checked against the route's manifest before any array is
made, so that a false shape costs nothing. Knows no transport: `serving.http.infer` reads JSON,
`serving.grpc` reads protobuf, and `serving.oip.outputs` writes replies.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.datatypes import DATATYPES
from core.errors import BodyTooLarge, InvalidInput
from core.manifest import Manifest, TensorSpec
from core.messages import NO_CONTROLS, Control
from core.parameters import NO_DECLARED, DeclaredParameters

Tensor = npt.NDArray[Any]

MAX_TIMEOUT_S = 86_400.0
MAX_ENERGY_MJ = 1e9
MAX_TEXTS = 16_384  # elements of one BYTES input: each is an object, even a short one
MAX_ID_CHARS = 1024
CONTROLS: Mapping[str, tuple[float, float]] = {"min_confidence": (0.0, 1.0)}

_BOOL = DATATYPES["BOOL"]
_BYTES = DATATYPES["BYTES"]
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS: Mapping[object, bool] = {
    True: True,
    False: False,
    "true": True,
    "false": False,
    "1": True,
    "0": False,
}
_KNOWN = frozenset({"timeout_ms", "timeout", "energy_mj", "no_cache", "partial", *CONTROLS})


class Parameters(NamedTuple):
    """The parameters of a request."""

    timeout_s: float | None = None
    energy_mj: float | None = None
    controls: Mapping[str, Control] = NO_CONTROLS
    no_cache: bool = False
    partial: bool = False


NO_PARAMETERS = Parameters()


def input_spec(manifest: Manifest, name: object) -> TensorSpec:
    """Return the declared input of this name. Raises InvalidInput."""
    for spec in manifest.inputs:
        if spec.name == name:
            return spec
    allowed = [spec.name for spec in manifest.inputs]
    raise InvalidInput(f"inputs: given {shorten(name)}, route {manifest.route} takes {allowed}")


def check_declared(spec: TensorSpec, datatype: object, shape: Sequence[object]) -> int:
    """Check a declared datatype and shape against the route's input; return the number of
    elements.
    """
    if datatype != spec.datatype:
        raise InvalidInput(
            f"inputs.{spec.name}.datatype: given {shorten(datatype)}, allowed {spec.datatype}"
        )
    wanted = spec.shape
    if len(shape) != len(wanted):
        raise _wrong_shape(spec, shape)
    elements = 1
    for given, allowed in zip(shape, wanted, strict=True):
        if type(given) is not int or given < 0 or (given != allowed and allowed >= 0):
            raise _wrong_shape(spec, shape)
        elements *= given
    if wanted and shape[0] == 0:
        raise InvalidInput(f"inputs.{spec.name}.shape: given 0 rows, allowed 1 or more")
    return elements


def check_inputs(manifest: Manifest, inputs: Mapping[str, Tensor]) -> None:
    """Check names, datatypes and shapes of finished arrays against the manifest. Raises
    InvalidInput.
    """
    for name, array in inputs.items():
        spec = input_spec(manifest, name)
        if array.dtype != DATATYPES[spec.datatype]:
            raise InvalidInput(
                f"inputs.{name}.datatype: given {array.dtype}, allowed {spec.datatype}"
            )
        check_declared(spec, spec.datatype, array.shape)
    check_rows(manifest, inputs)


def check_rows(manifest: Manifest, inputs: Mapping[str, Tensor]) -> None:
    """Check that every declared input is given, all with the same number of rows. Raises
    InvalidInput.
    """
    if len(inputs) != len(manifest.inputs):
        missing = [spec.name for spec in manifest.inputs if spec.name not in inputs]
        raise InvalidInput(f"inputs: {missing} missing, route {manifest.route} needs them")
    if len(inputs) == 1:
        return
    rows = {name: array.shape[0] for name, array in inputs.items()}
    if len(set(rows.values())) != 1:
        raise InvalidInput(f"inputs: given numbers of rows {rows}, allowed the same number for all")


def tensor_from_raw(
    spec: TensorSpec,
    datatype: object,
    shape: Sequence[Any],
    raw: bytes,
    start: int,
    size_bytes: int,
) -> Tensor:
    """Return a view of `size_bytes` bytes of `raw` if possible, else a copy. The caller checks that
    they exist.
    """
    elements = check_declared(spec, datatype, shape)
    dtype = DATATYPES[spec.datatype]
    if dtype is _BYTES:
        items = unpack_bytes(spec.name, raw[start : start + size_bytes], elements)
        return read_texts(spec.name, items).reshape(shape)
    if elements * dtype.itemsize != size_bytes:
        raise InvalidInput(
            f"inputs.{spec.name}: given {size_bytes} bytes, shape {shorten(list(shape))} of"
            f" {spec.datatype} needs {elements * dtype.itemsize}"
        )
    if elements == 0:
        return np.empty(shape, dtype)
    if dtype is _BOOL:
        return _read_bools(spec.name, np.frombuffer(raw, np.uint8, elements, start)).reshape(shape)
    array = np.frombuffer(raw, dtype, elements, start).reshape(shape)
    if dtype.itemsize > 1 and not array.flags.aligned:
        return array.copy()  # runtimes may assume alignment
    return array


def check_texts(name: str, elements: int) -> None:
    """Raise BodyTooLarge for more elements of a BYTES input than are allowed."""
    if elements > MAX_TEXTS:
        raise BodyTooLarge(f"inputs.{name}: given {elements} BYTES elements, allowed {MAX_TEXTS}")


def check_id(identity: str) -> None:
    """Check the length of a request's id, which its reply repeats. Raises InvalidInput."""
    if len(identity) > MAX_ID_CHARS:
        raise InvalidInput(f"id: given {len(identity)} characters, allowed {MAX_ID_CHARS}")


def check_count(field: str, given: int, declared: int) -> None:
    """Check the number of a request's tensors before any is read. A few too many pass here and get
    an error by name later.
    """
    if given > declared + 16:
        raise InvalidInput(f"{field}: given {given} tensors, allowed {declared}")


def unpack_bytes(name: str, raw: bytes, elements: int) -> list[bytes]:
    """Split raw bytes into BYTES elements, each after its length in four little-endian bytes."""
    if elements * 4 > len(raw):
        raise InvalidInput(
            f"inputs.{name}: given {len(raw)} bytes, {elements} BYTES elements need"
            f" {elements * 4} or more"
        )
    check_texts(name, elements)
    found: list[bytes] = []
    place = 0
    while place + 4 <= len(raw) and len(found) < elements:
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4 + length
        if place > len(raw):
            break
        found.append(raw[place - length : place])
    if len(found) != elements or place != len(raw):
        raise InvalidInput(
            f"inputs.{name}: the lengths of its BYTES elements do not add up to {len(raw)} bytes"
        )
    return found


def read_texts(name: str, items: Sequence[bytes]) -> Tensor:
    """Return the elements of a BYTES input as a flat array of text, which models take."""
    check_texts(name, len(items))
    found: list[str] = []
    for item in items:
        try:
            found.append(item.decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"inputs.{name}: element {len(found)} is not UTF-8 at byte"
                f" {error.start}, allowed UTF-8 text"
            ) from None
    return object_array(found)


def pack_bytes(array: Tensor) -> bytes:
    """Return BYTES elements in the form that `unpack_bytes` reads."""
    return b"".join(struct.pack("<I", len(item)) + item for item in map(as_bytes, array.flat))


def object_array(items: Sequence[object]) -> Tensor:
    """Return a flat object array; a numpy array of bytes would drop trailing zero bytes."""
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array


def read_parameters(
    given: Mapping[str, object], declared: DeclaredParameters = NO_DECLARED
) -> Parameters:
    """Return the known parameters, and those that the route declares. Unknown and reserved ones are
    ignored, and so is null. Raises InvalidInput.
    """
    if not given or (_KNOWN.isdisjoint(given) and declared.keys().isdisjoint(given)):
        return NO_PARAMETERS
    if None in given.values():
        given = {name: value for name, value in given.items() if value is not None}
    timeouts_s: list[float] = []
    if "timeout_ms" in given:
        timeouts_s.append(_number("timeout_ms", given, 0.0, MAX_TIMEOUT_S * 1e3) / 1e3)
    if "timeout" in given:  # Triton's, in microseconds, 0 for none
        timeout_s = _number("timeout", given, 0.0, MAX_TIMEOUT_S * 1e6) / 1e6
        timeouts_s += [timeout_s] if timeout_s else []
    controls: dict[str, Control] = {
        name: _number(name, given, low, high)
        for name, (low, high) in CONTROLS.items()
        if name in given
    }
    if declared:
        controls |= _read_declared(given, declared)
    return Parameters(
        timeout_s=min(timeouts_s, default=None),
        energy_mj=_number("energy_mj", given, 0.0, MAX_ENERGY_MJ) if "energy_mj" in given else None,
        controls=controls or NO_CONTROLS,
        no_cache=_flag("no_cache", given),
        partial=_flag("partial", given),
    )


def _read_declared(given: Mapping[str, object], declared: DeclaredParameters) -> dict[str, Control]:
    """Return the declared parameters that differ from their defaults: a request that repeats a
    default has the same cache key as one without it.
    """
    controls: dict[str, Control] = {}
    for name, value in given.items():
        if (spec := declared.get(name)) is None:
            continue
        try:
            parsed = spec.parse(value)
        except ValueError:
            raise InvalidInput(
                f"parameters.{name}: given {shorten(value)}, allowed {spec.describe()}"
            ) from None
        if parsed != spec.default:
            controls[name] = parsed
    return controls


def shorten(value: object, limit: int = 80) -> str:
    """Return a text of the value that is short enough for an error sentence."""
    if isinstance(value, str | bytes | list | tuple | dict) and not _is_short(value, limit):
        return f"{type(value).__name__} of length {len(value)}"
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


def _is_short(value: object, limit: int, levels: int = 2) -> bool:
    """Return whether formatting the value is cheap: few items, no deep nesting."""
    if isinstance(value, list | tuple | dict):
        items = value.values() if isinstance(value, dict) else value
        return (
            levels > 0
            and len(value) <= limit
            and all(_is_short(item, limit, levels - 1) for item in items)
        )
    return not isinstance(value, str | bytes) or len(value) <= limit


def _wrong_shape(spec: TensorSpec, shape: Sequence[object]) -> InvalidInput:
    allowed = ["any" if size < 0 else size for size in spec.shape]
    return InvalidInput(
        f"inputs.{spec.name}.shape: given {shorten(list(shape))}, allowed"
        f" [{', '.join(['rows', *map(str, allowed[1:])])}]"
    )


def _read_bools(name: str, values: npt.NDArray[np.uint8]) -> Tensor:
    if values.max() > 1:
        raise InvalidInput(f"inputs.{name}: given byte {values.max()}, allowed 0 or 1 for BOOL")
    return values.view(np.bool_)


def as_bytes(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _number(name: str, given: Mapping[str, object], low: float, high: float) -> float:
    value = given[name]
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(min(value, MAX_ENERGY_MJ * 1e9))  # an int may be too large for a float
    elif isinstance(value, str) and len(value) <= 32 and _NUMBER.fullmatch(value):
        number = float(value)
    if not low <= number <= high:  # also refuses NaN
        raise InvalidInput(
            f"parameters.{name}: given {shorten(value)}, allowed a number from {low:g} to {high:g}"
        )
    return number


def _flag(name: str, given: Mapping[str, object]) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool | int | str) or value not in _FLAGS:
        raise InvalidInput(f"parameters.{name}: given {shorten(value)}, allowed true or false")
    return _FLAGS[value]
