"""Packs answers into bytes: one `bytes` object for a row, cut from one array for all rows.

A row of a structured array holds all outputs of an answer. Writing and reading many rows is then a
few calls of numpy, and a stored row keeps nothing else alive. Answers that have no such form, such
as texts, stay `Outcome`s.
"""

import struct
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.messages import Outcome, Outcomes


class Layout(NamedTuple):
    """What rows of the same kind share; made once by `make_layout`, so that it can be compared by
    identity.
    """

    row: np.dtype[np.void]  # fields "0", "1" ... for the outputs, then confidence and exit
    outputs: tuple[tuple[str, str], ...]  # name and field
    names: tuple[str, ...]  # of stages, for the exit


class Packed(NamedTuple):
    """An answer as bytes."""

    layout: Layout
    content: bytes


Kept = Packed | Outcome
ARRAY_BYTES = 128  # an array's header, its shape and its slot in `outputs`
_END = struct.Struct("<dq")  # confidence and exit


@lru_cache(1024)
def make_layout(
    outputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], names: tuple[str, ...]
) -> Layout:
    """Return the layout of outputs with these names, dtypes and shapes."""
    fields: list[Any] = [
        (str(index), dtype, shape) for index, (_, dtype, shape) in enumerate(outputs)
    ]
    fields += [("confidence", "<f8"), ("exit", "<i8")]
    return Layout(
        np.dtype(fields), tuple((one[0], str(index)) for index, one in enumerate(outputs)), names
    )


def pack(outcomes: Outcomes) -> Sequence[Kept]:
    """Return each of the answers by itself."""
    columns = outcomes.outputs
    rows = len(outcomes.confidence)
    for column in columns.values():
        if not isinstance(column, np.ndarray) or column.dtype.hasobject:
            return [copy_outcome(outcomes.row(place)) for place in range(rows)]
    layout = make_layout(
        tuple([(name, one.dtype, one.shape[1:]) for name, one in columns.items()]),
        tuple(outcomes.names),
    )
    exits = outcomes.exits
    if rows == 1:
        parts = [column.tobytes() for column in columns.values()]
        exit = exits if isinstance(exits, int) else int(exits[0])
        parts.append(_END.pack(outcomes.confidence[0], exit))
        return [Packed(layout, b"".join(parts))]
    packed = np.empty(rows, layout.row)
    for field, column in enumerate(columns.values()):
        packed[str(field)] = column
    packed["confidence"] = outcomes.confidence
    packed["exit"] = exits
    content = packed.tobytes()
    width = layout.row.itemsize
    return [
        Packed(layout, content[start : start + width]) for start in range(0, len(content), width)
    ]


def unpack(kept: Sequence[Packed]) -> Outcomes:
    """Return answers of one layout as columns; at least one."""
    layout = kept[0].layout
    content = kept[0].content if len(kept) == 1 else b"".join([one.content for one in kept])
    rows = np.frombuffer(content, layout.row)
    return Outcomes(
        {name: rows[field] for name, field in layout.outputs},
        rows["confidence"],
        rows["exit"],
        layout.names,
    )


def read_confidence(kept: Kept) -> float:
    """Return the confidence of a stored answer."""
    if isinstance(kept, Outcome):
        return kept.confidence
    return float(_END.unpack_from(kept.content, len(kept.content) - _END.size)[0])


def count_kept_bytes(kept: Kept) -> int:
    """Return the bytes that a stored answer takes, beside its entry in the cache."""
    if isinstance(kept, Outcome):
        return sum([count_bytes(array) for array in kept.outputs.values()])
    return len(kept.content)


def copy_outcome(outcome: Outcome) -> Outcome:
    """Return the answer with arrays that own their bytes and cannot be written."""
    outputs: Mapping[str, npt.NDArray[Any]] = {
        name: own_copy(np.asarray(array)) for name, array in outcome.outputs.items()
    }
    return Outcome(outputs, outcome.confidence, outcome.exit)


def own_copy(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a read-only array that owns its bytes: the array itself if it does, else a copy."""
    if array.base is None and not array.flags.writeable:
        return array
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def count_bytes(array: npt.NDArray[np.generic]) -> int:
    """Return the bytes that an array takes."""
    size_bytes = ARRAY_BYTES + array.nbytes
    if array.dtype.hasobject:  # objects such as text, which the array only points to
        size_bytes += sum(map(sys.getsizeof, array.flat))
    return size_bytes
