"""Whether batches end while rows wait: what readiness and liveness look at.

A device thread that is stuck in a native call, or a scheduler that gives the device no batch, shows
as rows that wait while no batch ends. A batch that was predicted to be long gets the time it was
predicted to take several times over.
"""

import logging
from typing import NamedTuple

from serving.scheduling.lanes import Lane

_SLACK = 4.0  # times the predicted seconds of the batch that runs

_log = logging.getLogger("sparing.scheduler")


class Health(NamedTuple):
    """What probes are told; `why` is a sentence where something is wrong."""

    ready: bool = True
    live: bool = True
    why: str = ""


HEALTHY = Health()


class Progress:
    """One for a device. Says each stall once in the log, and once that it is over."""

    __slots__ = ("_allowed_s", "_logged", "_since", "_stalled_after_s")

    def __init__(self, stalled_after_s: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._allowed_s = stalled_after_s
        self._since = 0.0
        self._logged = False

    def begin(self, now: float, batch_s: float = 0.0) -> None:
        """Rows wait from now on, or a batch that is predicted to take so long begins or ends."""
        self._since = now
        self._allowed_s = self._stalled_after_s + _SLACK * batch_s

    def exclude_pause(self, seconds: float) -> None:
        """The whole process did not run for so long: the machine or the process was suspended."""
        self._since += seconds

    def judge(self, lane: Lane | None, now: float) -> Health:
        """`lane`: where rows wait or run; None where there are none."""
        waited_s = now - self._since
        if lane is None or waited_s <= self._allowed_s:
            if self._logged:
                self._logged = False
                _log.warning("batches end again")
            return HEALTHY
        place = f"stage {lane.stage.name} of route {lane.route}"
        why = f"rows wait and no batch has ended for {waited_s:.0f} s, {place} is stuck"
        if not self._logged:
            self._logged = True
            _log.error("%s; the server is not ready until a batch ends", why)
        return Health(ready=False, live=waited_s <= 2 * self._allowed_s, why=why)
