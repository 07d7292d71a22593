"""Checks whether batches end while rows wait, for readiness and liveness.

If the device thread is stuck in a native call, or the scheduler gives the device no batch, rows
wait while no batch ends. A batch that is predicted to be long may take a multiple of its predicted
time.
"""

import logging
from typing import NamedTuple

from serving.scheduling.lanes import Lane

_SLACK = 4.0  # times the predicted seconds of the running batch

_log = logging.getLogger("sparing.scheduler")


class Health(NamedTuple):
    """The state that probes report; `why` is a sentence if something is wrong."""

    ready: bool = True
    live: bool = True
    why: str = ""


HEALTHY = Health()


class Progress:
    """The progress of one device. Logs each stall once, and once that it is over."""

    __slots__ = ("_allowed_s", "_logged", "_since", "_stalled_after_s")

    def __init__(self, stalled_after_s: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._allowed_s = stalled_after_s
        self._since = 0.0
        self._logged = False

    def begin(self, now: float, batch_s: float = 0.0) -> None:
        """Note that rows begin to wait, or that a batch with this predicted time begins or ends."""
        self._since = now
        self._allowed_s = self._stalled_after_s + _SLACK * batch_s

    def exclude_pause(self, seconds: float) -> None:
        """Ignore a time in which the whole process did not run: the machine or the process was
        suspended.
        """
        self._since += seconds

    def judge(self, lane: Lane | None, now: float) -> Health:
        """Return the device's health; `lane` is where rows wait or run, None if there are none."""
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
