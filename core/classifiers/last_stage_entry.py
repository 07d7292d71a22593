"""The entry of rows that only the last stage may answer.

With `min_confidence = 1` only the last stage's answer counts. If that stage takes the route's
inputs, running the earlier stages would be wasted compute.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from core.messages import Control, Next, Pipeline

LAST_STAGE_ONLY = 1.0  # as `min_confidence`


@runtime_checkable
class LastStageEntry(Protocol):
    """A pipeline with an entry for such rows: a stage, and its inputs besides the route's."""

    @property
    def direct(self) -> Next | None: ...


def find_last_stage_entry(pipeline: Pipeline) -> Next | None:
    """Return the entry, or None if a row has to run through all stages."""
    return pipeline.direct if isinstance(pipeline, LastStageEntry) else None


def wants_last_stage(controls: Mapping[str, Control]) -> bool:
    return bool(controls) and controls.get("min_confidence") == LAST_STAGE_ONLY
