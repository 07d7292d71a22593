"""The state that a row may need on its device, which its pipeline declares.

The engine reserves these bytes before the row's first stage runs, so that no row fails in the
middle for want of memory.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from core.messages import Array, Pipeline

# For each row of inputs [N, ...], with its controls and parameters (Any: a parameter has the type
# that the route declares), the most bytes that it may hold.
StateNeeds = Callable[[Mapping[str, Array], Mapping[str, Any]], npt.NDArray[np.int64]]


@runtime_checkable
class KeepsStates(Protocol):
    """A pipeline whose stages return `StateHandle`s."""

    def state_bytes(
        self, inputs: Mapping[str, Array], controls: Mapping[str, Any], /
    ) -> npt.NDArray[np.int64]:
        """Return for each row of these inputs [N, ...] the most bytes of state that it may hold at
        a time; 0 for a row without state. Raises InvalidInput for a row that it refuses.
        """


def find_state_needs(pipeline: Pipeline) -> StateNeeds | None:
    """Return the pipeline's declaration; None if its rows keep no state."""
    return pipeline.state_bytes if isinstance(pipeline, KeepsStates) else None
