"""Chooses the stage at which a call's rows enter their route: the first, or the last at once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from core.classifiers.last_stage_entry import wants_last_stage
from core.messages import Array
from serving.engine.calls import Call
from serving.scheduling.fair_shares import Claim
from serving.scheduling.lanes import Lane
from serving.scheduling.scheduler import Scheduler
from serving.settings import EngineSettings

_NOTHING: Mapping[str, Array] = MappingProxyType({})


class EntryPoint(NamedTuple):
    """The lane where rows enter a route, and the arrays that go in beside their own inputs."""

    lane: Lane
    extra_inputs: Mapping[str, Array] = _NOTHING


def choose_entry_point(
    call: Call,
    claim: Claim,
    rows: int,
    due: float,
    scheduler: Scheduler,
    settings: EngineSettings,
) -> EntryPoint:
    """Return where rows of the call enter: at the last stage if only its answer is allowed and
    it needs nothing of earlier stages, else at the first.
    """
    served, direct = call.served, call.served.direct
    if direct is None or not wants_last_stage(call.request.controls):
        return EntryPoint(served.entry)
    if call.streams or call.energy_mj is not None:
        return EntryPoint(served.entry)
    lane = served.lanes[direct.stage]
    if call.deadline is not None:  # an earlier stage's answer is better than none
        needed_s = scheduler.predict_s(lane, due, call.started, rows, claim)
        if call.started + needed_s > call.deadline - settings.reply_margin_s:
            return EntryPoint(served.entry)
    return EntryPoint(lane, direct.inputs)
