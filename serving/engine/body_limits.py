"""Computes how many bytes a route's request may have, from the shapes that its inputs declare.

JSON is the longest form: every element with its most digits, a comma and a blank, every list with
its brackets. A route with a text input or an input of any size has only the server's limit.
"""

from collections.abc import Mapping

from core.manifest import Manifest, TensorSpec

HEAD_BYTES = 64 * 2**10  # names, parameters and outputs beside the data
FLOOR_BYTES = 2**20  # allowed for every route: clients may write small tensors with many blanks

_SEPARATOR_CHARS = 2
_LIST_CHARS = 4  # two brackets, a comma and a blank
# Characters of the longest number of each datatype in JSON; BYTES has no longest.
_CHARS: Mapping[str, int] = {
    "BOOL": len("false"),
    "UINT8": 3,
    "INT8": 4,
    "UINT16": 5,
    "INT16": 6,
    "UINT32": 10,
    "INT32": 11,
    "UINT64": 20,
    "INT64": 20,
    "FP16": 24,  # the digits of a double: clients convert to double before they write
    "FP32": 24,
    "FP64": 24,
}


def measure_row(manifest: Manifest) -> int | None:
    """Return the bytes of one row of all inputs in their longest form; None if unbounded."""
    sizes = [_measure_input(spec) for spec in manifest.inputs]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def limit_body(row_bytes: int | None, max_rows: int, max_body_bytes: int) -> int:
    """Return the largest allowed size of a request's body, in bytes."""
    if row_bytes is None:
        return max_body_bytes
    return min(max_body_bytes, max(FLOOR_BYTES, HEAD_BYTES + max_rows * row_bytes))


def _measure_input(spec: TensorSpec) -> int | None:
    shape = spec.shape[1:]
    if spec.datatype not in _CHARS or min(shape, default=0) < 0:
        return None
    lists, elements = 1, 1
    for size in shape:
        elements *= size
        lists += elements
    return elements * (_CHARS[spec.datatype] + _SEPARATOR_CHARS) + lists * _LIST_CHARS
