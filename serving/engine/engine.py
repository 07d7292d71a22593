"""The engine: admits requests, answers from the caches, computes each distinct row once.

Endpoints give it a `Request` and get `Reply` objects or an error of the tree; it knows no
transport. The scheduler takes rows through the stages; the router chooses a task's route.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from copy import copy
from functools import partial
from typing import TypeVar

from cache.local_cache import LocalCache
from core.devices.interface import Device
from core.errors import Overloaded
from core.messages import Key, Reply, Request, RowAnswers
from serving.engine.admission import (
    Admission,
    Admitted,
    check_in_time,
    check_values,
    count_waiting,
)
from serving.engine.budgets import Fitted, fit_request
from serving.engine.caches.cached_rows import CachedRows
from serving.engine.caches.remote_lookup import RemoteAnswers, RemoteLookup
from serving.engine.calls import Call, count_rows, make_reply
from serving.engine.catalog import AUTO, Catalog, ServedRoute
from serving.engine.group_calls import GroupCall
from serving.engine.router import choose_route
from serving.engine.row_sorting import find_missing
from serving.engine.rows_under_way import RowsUnderWay
from serving.scheduling.device_thread import BatchThread, MakeDeviceThread
from serving.scheduling.rows.traced_rows import trace_cache_lookup
from serving.scheduling.schedulers import Schedulers
from serving.settings import EngineSettings

AnyCall = TypeVar("AnyCall", bound=Call)


class Engine:
    """One event loop and its devices. Create it inside the running loop; `close` ends the threads.

    Routes that name no device run on the first.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: EngineSettings,
        memory: LocalCache,
        *devices: Device,
        remote_cache: RemoteAnswers | None = None,
        secret: bytes | None = None,  # of fingerprints; None: one of this process alone
        loop: asyncio.AbstractEventLoop | None = None,  # None: the running one
        clock: Callable[[], float] = time.monotonic,
        make_device_thread: MakeDeviceThread = BatchThread,
    ) -> None:
        self.catalog = catalog
        self.memory = memory
        self.draining = False
        self._settings = settings
        self._admission = Admission(
            settings.max_rows_per_request, secret, weighs_hits=remote_cache is None
        )
        self.cached_rows = CachedRows(memory, self._admission, clock)
        self._calls = 0
        self._clock = clock
        self._loop = loop or asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self.under_way = RowsUnderWay(memory, settings)
        self.schedulers = self.under_way.schedulers = Schedulers(
            devices,
            self._loop,
            self.under_way.finish,
            reply_margin_s=settings.reply_margin_s,
            rebatch_stages=settings.rebatch_stages,
            stalled_after_s=settings.stalled_after_s,
            clock=clock,
            make_device_thread=make_device_thread,
        )
        self._by_device = self.schedulers.by_device
        self.device_s = self.schedulers.device_s  # seconds inside stages so far
        self.health = self.schedulers.health  # whether batches end while rows wait, for probes
        if remote_cache is not None:
            self.under_way.lookup = RemoteLookup(
                remote_cache, memory, self.schedulers, settings.reply_margin_s
            )

    @property
    def lookup(self) -> RemoteLookup | None:
        """Return the lookups in the second cache; None without one."""
        return self.under_way.lookup

    def admit(self, request: Request, key: Key | None = None) -> Admitted:
        """Choose the route and fingerprint the rows, unless the one row's key is given. Raises an
        error for an invalid or late request.
        """
        now = check_in_time(request, self._clock())
        rows = self._admission.count_rows(request.inputs)
        served = self._choose(request, rows)
        check_values(request.inputs, served)
        fitted, cost_share = request, 1.0
        if served.fits_budgets:
            fitted, cost_share = self._fit(request, served, rows, now)
            if fitted is not request and (known := self._find_answered(request, served, rows)):
                return Admitted(served, known, now)  # better, and for nothing
        if key is not None and fitted is request:
            return Admitted(served, [key], now, cost_share=cost_share)
        keys = self._admission.fingerprint(fitted, served, rows)
        controls = None if fitted is request else fitted.controls
        return Admitted(served, keys, now, controls=controls, cost_share=cost_share)

    def gathers(self, served: ServedRoute) -> bool:
        """Return whether requests of one row may become a group: what is done for each of them must
        be possible for all together.
        """
        return (
            self._settings.rebatch_stages
            and served.similar is None
            and not served.fits_budgets
            and not self.catalog.has_rollouts
        )

    def admit_group(
        self, request: Request, served: ServedRoute, keys: Sequence[Key | None]
    ) -> Admitted:
        """Admit rows that are requests of their own, without deadlines or budgets; with their keys,
        or None for each. Raises an error if a row is invalid.
        """
        check_values(request.inputs, served)
        if count_waiting(served.every_lane) + len(keys) > self._settings.max_queued_rows:
            raise Overloaded("the group does not fit")  # before its rows are looked up and counted
        if keys[0] is None:
            keys = self._admission.fingerprint(request, served, len(keys))
        return Admitted(served, keys, self._clock())

    def answer_from_cache(self, request: Request, admitted: Admitted) -> Reply | None:
        """Return the reply to a request of one row that the cache holds; None if `answer` must
        follow.

        Never used with `min_confidence`: an answer that is too weak would be looked up twice.
        """
        if len(admitted.keys) > 1 or not admitted.served.is_cached:
            return None
        if request.controls and "min_confidence" in request.controls:
            return None
        parts, _ = self._look_up_answers(request, admitted, count_misses=False)
        return make_reply(admitted.served, parts) if parts else None

    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply:
        """Return the final answers of all rows. Raises a leaf of the error tree."""
        over: asyncio.Future[None] = self._loop.create_future()
        call = self.submit(request, admitted or self.admit(request), partial(_settle, over))
        try:
            await over
        finally:
            self.release_call(call)
        return self.result(call)

    def submit(self, request: Request, admitted: Admitted, done: Callable[[], object]) -> Call:
        """Begin the work of `answer` without a task. Raises what can be refused at once.

        `done` is called when the call is over, in the middle of the engine's work: it may only
        schedule something. `release_call` must follow, then or when no client waits any more.
        """
        return self._submit(Call, request, admitted, done)

    def submit_group(
        self, request: Request, admitted: Admitted, done: Callable[[], object]
    ) -> GroupCall:
        """Begin the work on rows that are requests of their own, as `submit` does; `done` is called
        whenever there are answers to take.
        """
        call = self._submit(GroupCall, request, admitted, done)
        call.request = request._replace(inputs={})  # its blocks hold what is still needed
        return call

    def result(self, call: Call) -> Reply:
        """Return the reply of a call that is over. Raises its error if it failed."""
        if call.error is not None:
            raise copy(call.error)  # a raised error holds its frames, and they hold the call
        return make_reply(call.served, call.parts, errors=call.failures)

    def release_call(self, call: Call) -> None:
        """Release a call that is over, failed or whose client has disconnected."""
        call.done = None
        self._calls -= 1
        scheduler = self._by_device[call.served.entry.device]
        scheduler.traced -= call.trace.is_recording
        if self._calls == 0:
            self._idle.set()
        if call.timer is not None:
            call.timer.cancel()
        if call.claim is not None:
            scheduler.shares.release(call.claim)
        if call.missing:
            for block in [*call.blocks, *call.joined]:
                if not block.done:
                    scheduler.leave(block, call)
        # Blocks refer to the call: without this cycle it is freed at once.
        call.blocks = [block for block in call.blocks if not block.done]
        call.joined.clear()

    def release_row(self, call: GroupCall, row: int) -> None:
        """Release one row of a call whose client has disconnected, as `release_call` does."""
        call.gone.add(row)
        scheduler = self._by_device[call.served.entry.device]
        for block in [*call.blocks, *call.joined]:
            if not block.done:
                scheduler.leave_row(block, call, row)

    async def infer(
        self, request: Request, admitted: Admitted | None = None
    ) -> AsyncIterator[Reply]:
        """Yield a reply for each finished step if the request streams, else the one reply."""
        if not request.stream:
            yield await self.answer(request, admitted)
            return
        admitted = admitted or self.admit(request)
        parts, missing = self._look_up_answers(request, admitted)
        request = admitted.apply(request)
        call = Call(
            request, admitted.served, parts, len(missing), admitted.arrived, None, admitted.trace
        )
        call.cost_share = admitted.cost_share
        replies = call.stream()
        if missing:
            self.under_way.join_or_start(call, admitted.keys, missing)
        self._begin(call)
        try:
            while (reply := await replies.get()) is not None:
                yield reply
        finally:
            self.release_call(call)
        if call.error is not None:
            raise copy(call.error)  # a raised error holds its frames, and they hold the call

    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute:
        """Return the served route of that name and version, or the router's choice for
        `auto:<task>`. A rollout chooses by the key; without one, the stable version is returned.
        """
        if route.startswith(AUTO):
            return choose_route(self.catalog, route, None, partial(self._predict_s, caller=""))
        return self.catalog.resolve(route, version, key)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every call is answered; return False if some are not after `timeout_s`."""
        self.draining = True
        if self._calls == 0:
            return True
        self._idle.clear()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        if self.lookup is not None:
            self.lookup.close()
        self.schedulers.close()

    # Admission ------------------------------------------------------------------------------------

    def _submit(
        self,
        make_call: type[AnyCall],
        request: Request,
        admitted: Admitted,
        done: Callable[[], object] | None,
    ) -> AnyCall:
        parts, missing = self._look_up_answers(request, admitted)
        request = admitted.apply(request)
        call = make_call(
            request, admitted.served, parts, len(missing), admitted.arrived, done, admitted.trace
        )
        call.cost_share = admitted.cost_share
        call.tell()
        if missing:
            self.under_way.join_or_start(call, admitted.keys, missing)
        self._begin(call)
        return call

    def _look_up_answers(
        self, request: Request, admitted: Admitted, *, count_misses: bool = True
    ) -> tuple[list[RowAnswers], Sequence[int]]:
        """Return the answers that the cache holds, and the rows that it does not hold."""
        served, keys, arrived, trace = admitted[:4]
        every_row: Sequence[int] = range(len(keys))
        if not served.is_cached or keys[0] is None:
            return [], every_row
        least = request.controls.get("min_confidence", 0.0) if request.controls else 0.0
        found = self.memory.find(keys, least, count_misses=count_misses)
        parts: list[RowAnswers] = []
        missing = every_row
        if found:
            zero_mj = served.metrics.energy.zero_mj
            latency_s = self._clock() - arrived
            for rows, outcomes in found:
                part = RowAnswers(
                    rows, outcomes, range(len(rows)), "cache", True, 0, zero_mj, latency_s
                )
                count_rows(served, part)
                parts.append(part)
            missing = find_missing(len(keys), parts)
        if count_misses or parts:
            served.worth.observe(len(keys), len(keys) - len(missing))
        # otherwise it is looked up again
        if trace.is_recording and (count_misses or parts):
            trace_cache_lookup(trace, len(keys), len(keys) - len(missing))
        return parts, missing

    def _choose(self, request: Request, rows: int) -> ServedRoute:
        if not request.route.startswith(AUTO):
            key = request.rollout_key or request.caller
            return self.catalog.resolve(request.route, request.version, key)
        due = request.deadline
        if due is not None:
            due -= self._settings.reply_margin_s
        predict_s = partial(self._predict_s, rows=rows, caller=request.caller)
        return choose_route(self.catalog, request.route, due, predict_s)

    def _fit(self, request: Request, served: ServedRoute, rows: int, now: float) -> Fitted:
        due = request.deadline or now
        left_s = due - self._settings.reply_margin_s - now
        predict_s = partial(self._predict_s, served, due, rows, request.caller)
        return fit_request(request, served, rows, left_s, predict_s)

    def _find_answered(self, request: Request, served: ServedRoute, rows: int) -> Sequence[Key]:
        """Return the keys of the request's rows if the cache answers all of them, else none."""
        if not served.is_cached or "min_confidence" in request.controls:
            return ()
        if self._admission.skips_cache(served):  # counted where the request itself is looked up
            return ()
        keys = [key for key in self._admission.fingerprint(request, served, rows) if key]
        return keys if len(keys) == rows and all(map(self.memory.holds, keys)) else ()

    # Waiting --------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        self._calls += 1
        if call.trace.is_recording:
            self.schedulers.of(call.served.entry).traced += 1
        if call.deadline is not None:
            left_s = call.deadline - self._settings.reply_margin_s - self._clock()
            call.timer = self._loop.call_later(max(0.0, left_s), self._expire, call)

    def _expire(self, call: Call) -> None:
        """At the deadline, deliver the best answers so far, or an error if there are none."""
        scheduler = self.schedulers.of(call.served.entry)
        for block in [*call.blocks, *call.joined]:
            if call.over:
                return
            if not block.done:
                scheduler.cut_short(block, call)

    def _predict_s(self, served: ServedRoute, due: float, rows: int = 1, caller: str = "") -> float:
        now = self._clock()
        due = min(due, now + self._settings.patience_s)
        scheduler = self.schedulers.of(served.entry)
        claim = scheduler.shares.claim(caller, served.name)
        try:
            return scheduler.predict_s(served.entry, due, now, rows, claim)
        finally:
            scheduler.shares.release(claim)


def _settle(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)
