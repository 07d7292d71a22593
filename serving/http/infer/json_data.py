"""A tensor's `data` in JSON: flat or nested like its shape, with elements of its datatype only.

The fast way runs in C: `bytes(list)` for UINT8, `array.array` for other numbers. Both refuse a
number that does not fit instead of changing it.
"""

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from core.datatypes import DATATYPES
from core.errors import InvalidInput
from core.manifest import TensorSpec
from serving.oip.outputs import OutputTensor
from serving.oip.tensors import Tensor, check_texts, object_array, shorten


def read_data(spec: TensorSpec, shape: Sequence[int], elements: int, data: object) -> Tensor:
    """Return the array of a shape that is checked already. Raises InvalidInput."""
    if not isinstance(data, list):
        raise InvalidInput(f"inputs.{spec.name}.data: given {shorten(data)}, allowed a list")
    if spec.datatype == "BYTES":
        check_texts(spec.name, elements)
    if data and type(data[0]) is list and shape:
        data = _flatten(spec, shape, data)
    if len(data) != elements:
        raise InvalidInput(
            f"inputs.{spec.name}.data: given {len(data)} elements, shape {shorten(list(shape))}"
            f" has {elements}"
        )
    try:
        return convert(spec.datatype, data).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"inputs.{spec.name}.data: an element is not {spec.datatype}: {error}"
        ) from None


def write_data(tensor: OutputTensor) -> object:
    """Return a tensor's elements as a flat list for orjson; NaN becomes null."""
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(tensor.array).reshape(-1)
    try:
        return [
            item.decode() if isinstance(item, bytes) else str(item) for item in tensor.array.flat
        ]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"outputs.{tensor.name}: its bytes are not UTF-8, request it as binary data"
        ) from None


def _flatten(spec: TensorSpec, shape: Sequence[int], data: list[Any]) -> list[Any]:
    wanted = shape[0]
    for size in shape[1:]:
        if len(data) != wanted or set(map(type, data)) != {list} or set(map(len, data)) != {size}:
            raise InvalidInput(
                f"inputs.{spec.name}.data: not nested like its shape {shorten(list(shape))}"
            )
        data = list(chain.from_iterable(data))
        wanted *= size
    return data


def convert(datatype: str, data: list[Any]) -> Tensor:
    """Return a flat array. Raises TypeError, ValueError or OverflowError for an element of another
    type.
    """
    dtype = DATATYPES[datatype]
    if not data:
        return np.empty(0, dtype)
    if datatype == "UINT8":
        return np.frombuffer(bytes(data), dtype)
    if datatype == "BOOL":
        if set(map(type, data)) != {bool}:
            raise TypeError("allowed true and false")
        return np.frombuffer(bytes(data), dtype)
    if datatype == "BYTES":
        if set(map(type, data)) != {str}:
            raise TypeError("allowed strings")
        return object_array(data)
    if dtype.kind in "iu" or datatype == "FP64":  # numpy and `array` use the same type codes
        return np.frombuffer(array(dtype.char, data), dtype)
    return _narrow(np.frombuffer(array("d", data)), dtype)


def _narrow(numbers: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Tensor:
    with np.errstate(over="ignore"):
        narrow = numbers.astype(dtype)
    if not np.isfinite(narrow).all():
        raise OverflowError("too large")
    return narrow
