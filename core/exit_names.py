"""The exits of a pipeline whose answers are not named after the stage that gave them.

An exit is the label of a row's figures in metrics and replies. It is the stage that answered,
unless the pipeline tells its answers apart in another way, such as by the budget that they kept.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from core.messages import Pipeline


@runtime_checkable
class NamesExits(Protocol):
    """A pipeline with exits of its own: a few names, known when it is loaded."""

    @property
    def exits(self) -> Sequence[str]: ...


def find_exits(pipeline: Pipeline) -> Sequence[str]:
    """Return the names that `Outcome.exit` may have."""
    return pipeline.exits if isinstance(pipeline, NamesExits) else list(pipeline.stages)
