"""Whether a model answers several rows at once as it answers each alone: proved by running it.

A batch that is fixed at one row is made free, and then proved. What cannot be proved runs one row
at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx

from importing.onnx_files.content_sizes import find_content_sized
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.freeing import declare_free_rows, free_batch
from importing.onnx_files.graphs import FREE, Array, Feed, RunnableGraph, open_graph
from importing.onnx_files.trial_rows import find_vocabulary, make_trial_rows

PROOF_ROWS = 5
TOLERANCE = 1e-4  # of the largest value of an output: float32 sums in another order


@dataclass(frozen=True, slots=True)
class Batchability:
    """What the proof found."""

    model: onnx.ModelProto  # with a free batch
    batches: bool  # rows run together as they run alone
    rewritten: bool  # the batch was fixed
    reason: str  # one clause, for the report


def prove_batches(
    model: onnx.ModelProto,
    rows: Feed | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Batchability:
    """Compare a batch with its rows alone, on `rows` or on trial rows.

    Raises ImportFault if the model does not even run one row, or answers it in two ways.
    """
    source = open_graph(model)
    fixed = _find_fixed_batch(source)
    if fixed > 1:
        raise ImportFault(f"takes exactly {fixed} rows at once; export it with a free batch")
    if rows is None:
        vocabulary = find_vocabulary(model)
        rows = make_trial_rows(source.inputs, PROOF_ROWS, shapes=shapes, vocabulary=vocabulary)
    alone = _run_alone(source, rows)
    _refuse_randomness(source, rows, alone)
    freed = free_batch(model) if fixed == 1 else model
    reason = _find_difference(freed, rows, alone)
    named = "a fixed batch of 1 was made free; " if fixed == 1 else ""
    if reason is None:
        return Batchability(freed, True, fixed == 1, f"{named}{len(alone)} rows answer as alone")
    kept = declare_free_rows(model) if fixed == 1 else model
    return Batchability(kept, False, fixed == 1, f"runs one row at a time: {reason}")


def _find_fixed_batch(graph: RunnableGraph) -> int:
    """Return the number of rows that all inputs fix, or 0 where they are free."""
    first = {tensor.shape[0] for tensor in graph.inputs if tensor.shape}
    if not first:
        raise ImportFault("its inputs have no dimension for rows")
    fixed = first - {FREE}
    if not fixed:
        return 0
    if len(first) > 1:
        raise ImportFault(
            "its inputs begin with different sizes: "
            + ", ".join(str(tensor) for tensor in graph.inputs)
        )
    return fixed.pop()


def _run_alone(graph: RunnableGraph, rows: Feed) -> list[list[Array]]:
    count = len(next(iter(rows.values())))
    return [
        graph.run({name: array[i : i + 1] for name, array in rows.items()}) for i in range(count)
    ]


def _refuse_randomness(graph: RunnableGraph, rows: Feed, alone: list[list[Array]]) -> None:
    again = graph.run({name: array[:1] for name, array in rows.items()})
    if not all(_alike(a, b) for a, b in zip(again, alone[0], strict=True)):
        raise ImportFault("answers the same row in two ways; export it in eval mode")


def _find_difference(model: onnx.ModelProto, rows: Feed, alone: list[list[Array]]) -> str | None:
    """Describe how a batch differs from its rows alone; None if it does not."""
    try:
        graph = open_graph(model)
        together = graph.run(rows)
    except ImportFault as fault:
        return f"a batch of {len(alone)} fails ({str(fault)[:120]})"
    sized = find_content_sized(model)
    for place, tensor in enumerate(graph.outputs):
        parts = [one[place] for one in alone]
        whole = together[place]
        if any(part.shape[:1] != (1,) for part in parts):
            return f"output {tensor.name} has no dimension for rows"
        differs = len({part.shape for part in parts}) > 1
        if differs or (tensor.name in sized and FREE in tensor.shape[1:]):
            return f"the size of output {tensor.name} depends on what a row holds"
        if whole.shape != (len(parts), *parts[0].shape[1:]):
            return f"output {tensor.name} has the shape {list(whole.shape)}"
        if not _alike(whole, np.concatenate(parts)):
            return f"output {tensor.name} of a row depends on the rows beside it"
    return None


def _alike(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    if not np.issubdtype(a.dtype, np.floating):
        return bool((a == b).all())
    scale = float(np.abs(np.nan_to_num(b)).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True))
