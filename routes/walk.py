"""Runs one row through the stages of a pipeline, and makes a row of zeros for a trial run."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from core.datatypes import DATATYPES
from core.manifest import Manifest, TensorSpec
from core.messages import Array, StateHandle, Step

UNREACHABLE_CONFIDENCE = 2.0  # as `min_confidence` it sends a row through every stage

# Runs the named stage on one row, with its inputs and the state that the stage before left.
RunStage = Callable[[str, Mapping[str, Array], StateHandle | None], Step]


def walk(
    stage: str, inputs: Mapping[str, Array], run: RunStage, state: StateHandle | None = None
) -> Generator[tuple[str, Step], None, None]:
    """Yield every stage that the row goes to, and its step there.

    Frees each state when it is no longer needed; the last one when the walk ends or is closed.
    """
    try:
        while True:
            step = run(stage, inputs, state)
            following = step.next
            left, state = state, None if following is None else following.state
            release(left, state)
            yield stage, step
            if following is None:
                return
            stage, inputs = following.stage, following.inputs
    finally:
        release(state)


def release(state: StateHandle | None, kept: StateHandle | None = None) -> None:
    """Free a state, unless the next stage uses it."""
    if state is not None and state is not kept:
        state.free()


def make_zero_row(manifest: Manifest) -> dict[str, npt.NDArray[Any]]:
    """Make one row of zeros for every input; free dimensions have size 1, texts are empty."""
    return {spec.name: _make_zeros(spec) for spec in manifest.inputs}


def _make_zeros(spec: TensorSpec) -> npt.NDArray[Any]:
    shape = [1 if size < 0 else size for size in spec.shape[1:]]
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, DATATYPES[spec.datatype])
