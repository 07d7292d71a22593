"""Bodies that are arriving: which take too long, and which give way where room is short.

Each is read by a task of its own; one that is ended has its task cancelled, with an error that the
task raises in place of the cancellation.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from core.errors import RequestTimeout, SparingError
from serving.http.sweeps import Sweep

STALLED_S = 2.0  # a body slower than the least rate for so long gives way first
_DRAIN_S = 1.0  # the least that a silent body gets while the server drains


class Pace(NamedTuple):
    """How slowly a body may arrive."""

    timeout_s: float = 20.0  # without a new byte; from then on the mean rate counts, too
    min_bytes_per_s: float = 4096.0
    drain_s: float = 0.5  # without a new byte, while the server drains


class Upload:
    """One body that is arriving."""

    __slots__ = (
        "_task", "began_s", "caller", "held_bytes", "moved_s", "paced_bytes", "paced_s", "verdict",
    )  # fmt: skip

    def __init__(self, caller: str, task: asyncio.Task[Any], now_s: float) -> None:
        self.caller = caller
        self.held_bytes = 0
        self.began_s = now_s
        self.moved_s = now_s  # when a byte came last
        self.paced_s = now_s  # when it had come at the least rate last,
        self.paced_bytes = 0  # and how much was there
        self.verdict: SparingError | None = None  # why it was ended
        self._task = task

    def end(self, verdict: SparingError) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self._task.cancel()

    def take_verdict(self) -> SparingError | None:
        """Why this task's cancellation was no other's than `end`."""
        if self.verdict is None or self._task.uncancel() > 0:
            return None
        return self.verdict


class Uploads:
    """All bodies that are arriving in this process over HTTP."""

    def __init__(self, pace: Pace, draining: Callable[[], bool]) -> None:
        self._pace = pace
        self._draining = draining
        self._all: set[Upload] = set()
        self.sweep = Sweep(self._look)

    def begin(self, caller: str) -> Upload:
        task = asyncio.current_task()
        assert task is not None
        upload = Upload(caller, task, self.sweep.now_s)
        self._all.add(upload)
        self.sweep.wake()
        return upload

    def discard(self, upload: Upload) -> None:
        self._all.discard(upload)

    def move(self, upload: Upload, new_bytes: int) -> None:
        """Bytes of a body have come."""
        now_s = upload.moved_s = self.sweep.now_s
        upload.held_bytes += new_bytes
        came_bytes = upload.held_bytes - upload.paced_bytes
        if came_bytes >= self._pace.min_bytes_per_s * (now_s - upload.paced_s):
            upload.paced_s, upload.paced_bytes = now_s, upload.held_bytes

    def choose(
        self,
        short_bytes: int,
        held: Mapping[str, int],
        caller: str,
        wanted_bytes: int,
        but: Upload | None = None,
        *,
        of_caller: bool,
    ) -> list[Upload]:
        """Which to end so that this caller gets a body in and then holds `wanted_bytes`, `but` the
        body itself; none where that is not enough. With `of_caller` only its own, where its own
        share is full.

        Stalled ones first, of the caller that holds most; then slow ones of callers that hold more
        than their share and more than this one would.
        """
        chosen: list[Upload] = []
        fair_bytes = sum(held.values()) / len(held.keys() | {caller})
        left = dict(held)
        for upload, stalled in self._rank(held):
            if short_bytes <= 0:
                break
            if upload is but or (of_caller and upload.caller != caller):
                continue
            if stalled or left[upload.caller] > max(fair_bytes, wanted_bytes):
                chosen.append(upload)
                left[upload.caller] -= upload.held_bytes
                short_bytes -= upload.held_bytes
        return chosen if short_bytes <= 0 else []

    def _rank(self, held: Mapping[str, int]) -> list[tuple[Upload, bool]]:
        now_s = self.sweep.now_s
        holding = [one for one in self._all if one.held_bytes and one.verdict is None]
        stalled = [one for one in holding if now_s - one.paced_s >= STALLED_S]
        moving = [one for one in holding if now_s - one.paced_s < STALLED_S]
        stalled.sort(key=lambda one: (-held[one.caller], one.paced_s))
        moving.sort(key=lambda one: one.held_bytes / (now_s - one.began_s + 1.0))
        return [(one, True) for one in stalled] + [(one, False) for one in moving]

    def _look(self) -> bool:
        now_s, pace = self.sweep.now_s, self._pace
        silent_s = pace.timeout_s
        if self._draining():
            silent_s = min(silent_s, max(pace.drain_s, _DRAIN_S))
        for upload in self._all:
            age_s = now_s - upload.began_s
            if now_s - upload.moved_s >= silent_s:
                upload.end(RequestTimeout(f"body: no byte came for {silent_s:g} s"))
            elif age_s >= pace.timeout_s and upload.held_bytes < pace.min_bytes_per_s * age_s:
                upload.end(
                    RequestTimeout(
                        f"body: given {upload.held_bytes} bytes in {age_s:.0f} s, needed"
                        f" {pace.min_bytes_per_s:g} a second"
                    )
                )
        return bool(self._all)
