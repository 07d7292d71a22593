"""Finds out how much device memory the rows of a call may need for their states."""

import logging

import numpy as np

from core.errors import InvalidInput, SparingError, StageFailed
from serving.engine.calls import Call
from serving.scheduling.rows.blocks import Block

_log = logging.getLogger("sparing.states")


def measure_state_needs(call: Call, block: Block, limit_bytes: int) -> None:
    """Set the bytes that each row of the block must reserve before it starts.

    Raises InvalidInput for a row that can never fit into the device's memory for states, and what
    the pipeline raises for a row that it refuses.
    """
    declare = call.served.state_needs
    if declare is None:
        return
    try:
        needs = np.asarray(declare(block.inputs, block.controls))
        if needs.shape != (len(block),) or needs.dtype.kind not in "iu" or needs.min() < 0:
            raise ValueError(f"{needs.dtype} {list(needs.shape)}: not one size for each row")
    except SparingError:
        raise
    except Exception as error:  # of a pipeline
        _log.exception("route %s cannot say what its rows need", call.served.name)
        raise StageFailed(f"route {call.served.name!r} failed on this input") from error
    if needs.max() > limit_bytes:
        place = int(needs.argmax())
        raise InvalidInput(
            f"row {block.rows[place]} may need {needs[place]} bytes of state, the device of route "
            f"{call.served.name!r} has {limit_bytes} for all rows together"
        )
    if needs.any():
        block.needs = needs.tolist()
