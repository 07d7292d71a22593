"""The schedulers of all devices: one each, with its own thread, lanes, shares and memory.

A lane belongs to one device, which its route's settings name, so devices share only the event loop.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from core.devices.interface import Device
from serving.scheduling.device_thread import BatchThread, MakeDeviceThread
from serving.scheduling.lanes import Lane
from serving.scheduling.progress import HEALTHY, Health
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.ends import OnFinished
from serving.scheduling.scheduler import Scheduler


class Schedulers:
    """Lives on the event loop; `close` ends the threads."""

    def __init__(
        self,
        devices: Sequence[Device],  # the first runs the lanes that name none
        loop: asyncio.AbstractEventLoop,
        on_finished: OnFinished,
        *,
        reply_margin_s: float,
        rebatch_stages: bool,
        stalled_after_s: float,
        clock: Callable[[], float] = time.monotonic,
        make_device_thread: MakeDeviceThread = BatchThread,
    ) -> None:
        self.by_device = {
            device.name: Scheduler(
                device,
                loop,
                on_finished,
                reply_margin_s=reply_margin_s,
                rebatch_stages=rebatch_stages,
                stalled_after_s=stalled_after_s,
                clock=clock,
                make_device_thread=make_device_thread,
            )
            for device in devices
        }
        self._all = dict(self.by_device)
        self.by_device[""] = self._all[devices[0].name]
        self._loop = loop
        self._clock = clock
        self._watch_interval_s = stalled_after_s / 4
        self._watch_at = clock()
        self._watching: asyncio.Handle = loop.call_soon(self._watch)

    def __iter__(self) -> Iterator[tuple[str, Scheduler]]:
        """Yield each device's name and scheduler."""
        return iter(self._all.items())

    def of(self, lane: Lane) -> Scheduler:
        """Return the scheduler of the lane's device."""
        return self.by_device[lane.device]

    def enqueue(self, block: Block, lane: Lane, now: float) -> None:
        """Put a block into a lane of its device."""
        self.by_device[lane.device].enqueue(block, lane, now)

    @property
    def traced(self) -> int:
        """Return the number of calls under way with a trace."""
        return sum([one.traced for one in self._all.values()])

    def device_s(self) -> float:
        """Return seconds inside stages so far, on all devices together."""
        return sum([one.device_s() for one in self._all.values()])

    def state_bytes(self) -> int:
        """Return the bytes that rows' states hold now, on all devices together."""
        return sum([one.states.used_bytes for one in self._all.values()])

    def health(self) -> Health:
        """Return whether batches end on every device, for probes."""
        found = [(name, one.health()) for name, one in self._all.items()]
        faults = [(name, one) for name, one in found if one is not HEALTHY]
        if not faults:
            return HEALTHY
        prefix = len(found) > 1
        return Health(
            all(one.ready for _, one in faults),
            all(one.live for _, one in faults),
            "; ".join(f"device {name}: {one.why}" if prefix else one.why for name, one in faults),
        )

    def close(self) -> None:
        self._watching.cancel()
        for one in self._all.values():
            one.close()

    def _watch(self) -> None:
        """Log a stall even if no probe looks for it."""
        now = self._clock()
        late_s = now - self._watch_at
        for one in self._all.values():
            if late_s > self._watch_interval_s:  # this loop could not run
                one.exclude_pause(late_s)
            one.health()
        self._watch_at = now + self._watch_interval_s
        self._watching = self._loop.call_later(self._watch_interval_s, self._watch)
