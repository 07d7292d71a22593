"""Bodies that are arriving: ends those that take too long, and chooses which end if memory is
short.

A task reads each body. To end a body, its task is cancelled, and the task raises the given error in
place of the cancellation.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from core.errors import RequestTimeout, SparingError
from serving.http.connections import Sweep

STALLED_S = 2.0  # a body below the lowest rate for this long ends first
_DRAIN_S = 1.0  # shortest time for a silent body while the server drains


class UploadPace(NamedTuple):
    """How slowly a body may arrive."""

    timeout_s: float = 20.0  # without a new byte; after this, the mean rate counts too
    min_bytes_per_s: float = 4096.0
    drain_s: float = 0.5  # without a new byte, while the server drains


class Upload:
    """One body that is arriving."""

    __slots__ = (
        "_task",
        "began_s",
        "caller",
        "error",
        "held_bytes",
        "measured_bytes",
        "measured_s",
        "progressed_s",
    )  # fmt: skip

    def __init__(self, caller: str, task: asyncio.Task[Any], now_s: float) -> None:
        self.caller = caller
        self.held_bytes = 0
        self.began_s = now_s
        self.progressed_s = now_s  # when a byte came last
        self.measured_s = now_s  # when it last kept the lowest rate,
        self.measured_bytes = 0  # and its bytes then
        self.error: SparingError | None = None  # why it was ended
        self._task = task

    def end(self, error: SparingError) -> None:
        """Cancel the body's task, which then raises the given error."""
        if self.error is None:
            self.error = error
            self._task.cancel()

    def pop_error(self) -> SparingError | None:
        """Return the error of `end` if it caused this task's cancellation, else None."""
        if self.error is None or self._task.uncancel() > 0:
            return None
        return self.error


class Uploads:
    """All bodies that are arriving over HTTP in this process."""

    def __init__(self, pace: UploadPace, draining: Callable[[], bool]) -> None:
        self._pace = pace
        self._draining = draining
        self._all: set[Upload] = set()
        self.sweep = Sweep(self._look)

    def begin(self, caller: str) -> Upload:
        """Register a body that the current task begins to read."""
        task = asyncio.current_task()
        assert task is not None
        upload = Upload(caller, task, self.sweep.now_s)
        self._all.add(upload)
        self.sweep.wake()
        return upload

    def discard(self, upload: Upload) -> None:
        self._all.discard(upload)

    def add_bytes(self, upload: Upload, new_bytes: int) -> None:
        """Note new bytes of a body."""
        now_s = upload.progressed_s = self.sweep.now_s
        upload.held_bytes += new_bytes
        came_bytes = upload.held_bytes - upload.measured_bytes
        if came_bytes >= self._pace.min_bytes_per_s * (now_s - upload.measured_s):
            upload.measured_s, upload.measured_bytes = now_s, upload.held_bytes

    def choose_victims(
        self,
        short_bytes: int,
        held: Mapping[str, int],
        caller: str,
        wanted_bytes: int,
        excluded: Upload | None = None,
        *,
        of_caller: bool,
    ) -> list[Upload]:
        """Choose uploads to end so that this caller can hold `wanted_bytes`; empty if they are not
        enough. `excluded` is the caller's own upload, which is never chosen.

        With `of_caller`, only the caller's own uploads, because its own share is full. Stalled ones
        come first, of the caller that holds most; then slow ones of callers that hold more than
        their share and more than this one would.
        """
        chosen: list[Upload] = []
        fair_bytes = sum(held.values()) / len(held.keys() | {caller})
        left = dict(held)
        for upload, stalled in self._rank(held):
            if short_bytes <= 0:
                break
            if upload is excluded or (of_caller and upload.caller != caller):
                continue
            if stalled or left[upload.caller] > max(fair_bytes, wanted_bytes):
                chosen.append(upload)
                left[upload.caller] -= upload.held_bytes
                short_bytes -= upload.held_bytes
        return chosen if short_bytes <= 0 else []

    def _rank(self, held: Mapping[str, int]) -> list[tuple[Upload, bool]]:
        now_s = self.sweep.now_s
        holding = [one for one in self._all if one.held_bytes and one.error is None]
        stalled = [one for one in holding if now_s - one.measured_s >= STALLED_S]
        moving = [one for one in holding if now_s - one.measured_s < STALLED_S]
        stalled.sort(key=lambda one: (-held[one.caller], one.measured_s))
        moving.sort(key=lambda one: one.held_bytes / (now_s - one.began_s + 1.0))
        return [(one, True) for one in stalled] + [(one, False) for one in moving]

    def _look(self) -> bool:
        now_s, pace = self.sweep.now_s, self._pace
        silent_s = pace.timeout_s
        if self._draining():
            silent_s = min(silent_s, max(pace.drain_s, _DRAIN_S))
        for upload in self._all:
            age_s = now_s - upload.began_s
            if now_s - upload.progressed_s >= silent_s:
                upload.end(RequestTimeout(f"body: no byte came for {silent_s:g} s"))
            elif age_s >= pace.timeout_s and upload.held_bytes < pace.min_bytes_per_s * age_s:
                upload.end(
                    RequestTimeout(
                        f"body: given {upload.held_bytes} bytes in {age_s:.0f} s, needed"
                        f" {pace.min_bytes_per_s:g} a second"
                    )
                )
        return bool(self._all)
