"""Decodes pictures beside the event loop: a few threads, a bounded queue, deadlines, cancellation.

Work is admitted by its predicted seconds, the bytes of its files and the memory that it takes while
it runs. Work that cannot end in time is refused at once; work that does not end in time is stopped
at the deadline; work that no client waits for is stopped at its next pause. Callers share the
threads fairly.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

from core.errors import DeadlineExceeded, Overloaded, RouteUnavailable, SparingError
from serving.pictures.decode_queue import DecodeQueue
from serving.pictures.decode_times import DecodeTimes
from serving.settings import ServerSettings

Pause = Callable[[], object]
Result = TypeVar("Result")


class Work(NamedTuple, Generic[Result]):
    """A piece of work and its predicted costs."""

    run: Callable[[Pause], Result]  # calls its argument between steps
    kind: str  # a key of `DecodeTimes`
    units: float
    memory_bytes: int  # while it runs
    file_bytes: int  # while it waits


class PoolLimits(NamedTuple):
    """What may run and wait at once."""

    threads: int
    max_wait_s: float
    max_memory_bytes: int
    max_file_bytes: int


class _Ended(Exception):
    """No client waits for this work any more."""


class _DecodeRequest:
    """The work of one request: finished, refused or given up as a whole."""

    def __init__(self, caller: str, over: "asyncio.Future[None]") -> None:
        self.caller = caller
        self.over = over
        self.jobs: list[_Job] = []
        self.left = 0
        self.ended = False
        self.error: Exception | None = None

    def pause(self) -> None:
        if self.ended:
            raise _Ended

    def take_error(self) -> Exception:
        """Return the error and keep no reference: a raised error holds everything in its frames."""
        error, self.error = self.error, None
        assert error is not None
        return error


class _Job:
    """One piece of work in the queue or in a thread."""

    __slots__ = (
        "began_s",
        "caller",
        "cost_s",
        "decode_request",
        "file_bytes",
        "result",
        "share_s",
        "work",
    )

    def __init__(
        self, decode_request: _DecodeRequest, work: Work[Any], cost_s: float, share: float
    ) -> None:
        self.decode_request = decode_request
        self.work = work
        self.caller = decode_request.caller
        self.cost_s = cost_s
        self.share_s = cost_s * share
        self.file_bytes = work.file_bytes
        self.began_s = 0.0
        self.result: Any = None  # depends on the work


def open_decode_pool(settings: ServerSettings) -> "DecodePool":
    """Open a pool with as many threads as this process may use cores, unless the settings give a
    number.
    """
    limits = PoolLimits(
        settings.decode_threads or _count_cores(),
        settings.max_decode_wait_s,
        settings.max_decode_bytes,
        settings.max_decode_bytes,
    )
    return DecodePool(limits)


class DecodePool:
    """A pool of threads for one event loop; `close` ends the threads."""

    def __init__(self, limits: PoolLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.times = DecodeTimes()
        self._limits = limits
        self._clock = clock
        self._queue: DecodeQueue[_Job] = DecodeQueue()
        self._running: set[_Job] = set()
        self._memory_bytes = 0
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="decode")
        self._closed = False

    async def run(
        self, works: Sequence[Work[Result]], caller: str, deadline: float | None
    ) -> list[Result]:
        """Return the results in order. Raises DeadlineExceeded, Overloaded, or an error of the
        work.
        """
        loop = asyncio.get_running_loop()
        decode_request = _DecodeRequest(caller, loop.create_future())
        decode_request.jobs = [self._make_job(decode_request, work) for work in works]
        decode_request.left = len(decode_request.jobs)
        timer = None
        try:
            self._admit(decode_request, deadline)
            for job in decode_request.jobs:
                self._queue.push(job)
            if deadline is not None:
                left_s = max(0.0, deadline - self._clock())
                timer = loop.call_later(left_s, self._end, decode_request, _too_late())
            self._begin_next(loop)
            await decode_request.over
            if decode_request.error is not None:
                raise decode_request.take_error()
            return [job.result for job in decode_request.jobs]
        finally:
            if timer is not None:
                timer.cancel()
            self._end(decode_request)
            decode_request.jobs.clear()  # jobs hold files, rows and the order itself
            self._begin_next(loop)

    def close(self) -> None:
        """Give all work up; threads end at their next pause."""
        self._closed = True
        for job in [*self._running, *self._queue]:
            self._end(job.decode_request, RouteUnavailable("the server is shutting down"))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def counts(self) -> tuple[int, int]:
        """Return how many pieces of work run, and how many wait."""
        return len(self._running), sum(1 for _ in self._queue)

    def _make_job(self, decode_request: _DecodeRequest, work: Work[Any]) -> _Job:
        limits = self._limits
        share = max(1 / limits.threads, work.memory_bytes / limits.max_memory_bytes)
        return _Job(
            decode_request, work, self.times.predict_s(work.kind, work.units), min(1.0, share)
        )

    def _admit(self, decode_request: _DecodeRequest, deadline: float | None) -> None:
        more_s = sum(job.share_s for job in decode_request.jobs)
        if deadline is not None:
            self._check_in_time(decode_request, more_s, deadline)
        more_bytes = sum(job.file_bytes for job in decode_request.jobs)
        while not self._has_room(more_s, more_bytes):
            loser = self._queue.newest_of_busiest_caller(decode_request.caller, more_s)
            if loser is None:
                raise self._overloaded()
            self._end(loser.decode_request, self._overloaded())

    def _check_in_time(
        self, decode_request: _DecodeRequest, more_s: float, deadline: float
    ) -> None:
        now = self._clock()
        own_s = max(more_s, *(job.cost_s for job in decode_request.jobs))
        wait_s = self._queue.predict_s(decode_request.caller, more_s) + self._busy_s(now)
        left_s = deadline - now
        if wait_s + own_s > left_s:
            if own_s > left_s > 0:
                self.times.observe_refused(decode_request.jobs[0].work.kind)
            raise DeadlineExceeded(
                f"pictures: decoding is predicted to need {(wait_s + own_s) * 1e3:.0f} ms, the"
                f" request's deadline leaves {max(0.0, left_s) * 1e3:.0f} ms"
            )

    def _busy_s(self, now: float) -> float:
        """Return the seconds until a thread is free, or the memory that the running work holds."""
        if not self._queue.wait_s and len(self._running) < self._limits.threads:
            return 0.0
        return sum(
            max(0.0, job.cost_s - (now - job.began_s)) * job.share_s / job.cost_s
            for job in self._running
        )

    def _has_room(self, more_s: float, more_bytes: int) -> bool:
        queue, limits = self._queue, self._limits
        if not queue.wait_s:
            return True  # a single request may take longer
        return (
            queue.wait_s + more_s <= limits.max_wait_s
            and queue.file_bytes + more_bytes <= limits.max_file_bytes
        )

    def _overloaded(self) -> Overloaded:
        wait_s = self._queue.wait_s
        return Overloaded(
            f"pictures: waiting ones take {wait_s:.1f} s and {self._queue.file_bytes} bytes,"
            f" allowed {self._limits.max_wait_s:.1f} s and {self._limits.max_file_bytes} bytes",
            retry_after_s=max(1.0, wait_s),
        )

    def _begin_next(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closed and len(self._running) < self._limits.threads:
            job = self._queue.first()
            if job is None:
                return
            memory_bytes = self._memory_bytes + job.work.memory_bytes
            if self._running and memory_bytes > self._limits.max_memory_bytes:
                return
            self._queue.take(job)
            self._running.add(job)
            self._memory_bytes = memory_bytes
            job.began_s = self._clock()
            self._threads.submit(self._work, job, loop)

    def _work(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        """Run one job, in a thread."""
        began_s = time.thread_time()
        error: Exception | None = None
        result = None
        try:
            job.decode_request.pause()
            result = job.work.run(job.decode_request.pause)
        except SparingError as raised:
            error = raised.with_traceback(None)  # the traceback holds what the work held
        except Exception as raised:
            error = raised
        spent_s = time.thread_time() - began_s
        with contextlib.suppress(RuntimeError):  # the loop has ended, with all that waited
            loop.call_soon_threadsafe(self._finish, job, result, error, spent_s, loop)
        del job, result, error  # avoids a cycle with the error's frames, one of which is this

    def _finish(
        self,
        job: _Job,
        result: object,
        error: Exception | None,
        spent_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._running.discard(job)
        self._memory_bytes -= job.work.memory_bytes
        decode_request, work = job.decode_request, job.work
        if isinstance(error, _Ended):
            self.times.observe_aborted(work.kind, work.units, spent_s)
        elif error is None:
            self.times.observe(work.kind, work.units, spent_s)
        if not decode_request.ended:
            job.result = result
            decode_request.left -= 1
            if error is not None:
                self._end(decode_request, error)
            elif decode_request.left == 0 and not decode_request.over.done():
                decode_request.over.set_result(None)
        self._begin_next(loop)

    def _end(self, decode_request: _DecodeRequest, error: Exception | None = None) -> None:
        """End a request's work; with an error, the request fails with it."""
        if decode_request.ended:
            return
        decode_request.ended = True
        for job in decode_request.jobs:
            self._queue.remove(job)
        if error is not None and not decode_request.over.done():
            decode_request.error = error
            decode_request.over.set_result(None)


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: the cores that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("pictures: they were not decoded before the request's deadline")
