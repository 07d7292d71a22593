"""Straight to the last stage: where a row enters that no earlier stage may answer.

With `min_confidence = 1` the last stage answers, always and alone, whatever earlier stages would
say. So where the last stage takes the route's inputs, nothing is gained by running the others.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from core.messages import Next, Pipeline

LAST_STAGE_ONLY = 1.0  # as `min_confidence`


@runtime_checkable
class LastStageEntry(Protocol):
    """A pipeline that says where such rows enter, and with what beside the route's inputs."""

    @property
    def direct(self) -> Next | None: ...


def find_last_stage_entry(pipeline: Pipeline) -> Next | None:
    """None where a row has to go through all stages."""
    return pipeline.direct if isinstance(pipeline, LastStageEntry) else None


def wants_last_stage(controls: Mapping[str, float]) -> bool:
    return bool(controls) and controls.get("min_confidence") == LAST_STAGE_ONLY
