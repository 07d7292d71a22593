"""Admission: chooses a request's route and computes its rows' fingerprints, or refuses the request.

Every possible refusal happens here, before the request costs any work.
"""

import hashlib
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cache.fingerprint import Fingerprinter, Prefix, encode_controls
from core.errors import BodyTooLarge, DeadlineExceeded, InvalidInput, Overloaded
from core.manifest import TensorSpec
from core.messages import Control, Key, Request
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute
from serving.scheduling.fair_shares import Claim
from serving.scheduling.lanes import Lane
from serving.scheduling.prediction import drain_s, extra_s, waiting_s
from serving.scheduling.scheduler import Scheduler
from serving.settings import EngineSettings

_PREFIXES = 1024
_MAX_CONTROLS_BYTES = 256  # of a remembered prefix
# A caller's waiting rows may be so many times the free ones: 8 of 9 parts if it is alone.
FREE_SHARE_DIVISOR = 8


class Admitted(NamedTuple):
    """A valid request that arrived in time, before any work is spent on it."""

    served: ServedRoute
    keys: Sequence[Key | None]  # by row; None if the request wants its answers computed anew
    arrived: float
    trace: Trace = NO_TRACE
    controls: Mapping[str, Control] | None = None  # fitted to its budgets; None: the request's own
    cost_share: float = 1.0  # of the first stage, relative to its cost at the default budget

    def apply(self, request: Request) -> Request:
        """Return the request as it runs."""
        return request if self.controls is None else request._replace(controls=self.controls)


class Admission:
    """Counts and fingerprints rows. Without a `secret`, the process makes its own.

    `weighs_hits`: rows are not cached either where too few come again. Not with a second cache,
    which may hold what the local one does not.
    """

    def __init__(
        self, max_rows: int, secret: bytes | None = None, *, weighs_hits: bool = False
    ) -> None:
        self._weighs_hits = weighs_hits
        self.skipped_rows = 0  # not cached, since they cost less
        self._max_rows = max_rows
        self._fingerprinter = Fingerprinter(secret or secrets.token_bytes(32))
        self._prefixes: dict[tuple[object, ...], Prefix] = {}

    def count_rows(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Return the number of rows, the same for all inputs. Raises InvalidInput if there are none
        or the numbers differ, BodyTooLarge if there are too many.
        """
        arrays = iter(inputs.values())
        rows = len(next(arrays))
        if len(inputs) > 1 and any(len(array) != rows for array in arrays):
            raise InvalidInput(
                "inputs: given different numbers of rows, allowed the same number for all"
            )
        if rows > self._max_rows:
            raise BodyTooLarge(f"inputs: given {rows} rows, allowed {self._max_rows}")
        if rows == 0:
            raise InvalidInput("inputs: given 0 rows, allowed 1 or more")
        return rows

    def fingerprint(self, request: Request, served: ServedRoute, rows: int) -> Sequence[Key | None]:
        """Return the rows' cache keys; all None for a request whose answers must not be cached, or
        whose rows cost less than caching them.
        """
        if request.no_cache or not served.is_cached:
            return [None] * rows
        if self.skips_cache(served):
            self.skipped_rows += rows
            served.worth.skip(rows)
            return [None] * rows
        return self._fingerprinter.row_keys(self._request_prefix(served, request), request.inputs)

    def skips_cache(self, served: ServedRoute) -> bool:
        """Return whether requests of this route are not cached now."""
        return served.skips_cache(weighs_hits=self._weighs_hits)

    def row_hasher(self, request: Request, served: ServedRoute) -> "hashlib.blake2b":
        """Return the hash of all that goes into the key of the request's row but its bytes."""
        prefix = self._request_prefix(served, request)
        return self._fingerprinter.row_hasher(prefix, request.inputs)

    def _request_prefix(self, served: ServedRoute, request: Request) -> Prefix:
        controls = encode_controls(request.controls) if request.controls else b""
        name = (served.digest, served.name, request.tenant, controls)
        prefix = self._prefixes.get(name)
        if prefix is None:
            if len(self._prefixes) >= _PREFIXES:
                self._prefixes.clear()
            prefix = self._fingerprinter.prefix(
                request.tenant, served.name, served.pipeline.digest, request.controls
            )
            if len(controls) <= _MAX_CONTROLS_BYTES:
                self._prefixes[name] = prefix
        return prefix


def _check_wait(
    call: Call, own_s: float, more_s: float, turns: int, settings: EngineSettings
) -> None:
    """Raise Overloaded if a caller's rows for a route, `own_s` and `more_s` seconds of work, would
    wait for too long while `turns` routes and callers take turns on the device.
    """
    if (own_s + more_s) * turns <= settings.max_queued_s:
        return
    raise Overloaded(
        f"route {call.served.name!r} needs {own_s * turns:.1f} s for this caller's waiting rows,"
        f" with this request {(own_s + more_s) * turns:.1f} s, allowed"
        f" {settings.max_queued_s:g} s",
        retry_after_s=max(1.0, (own_s + more_s) * turns - settings.max_queued_s),
    )


def check_values(inputs: Mapping[str, np.ndarray], served: ServedRoute) -> None:
    """Raise InvalidInput for a value that the route refuses."""
    if served.finite_inputs:
        _check_finite(inputs, served)
    if served.bounded_inputs:
        _check_bounds(inputs, served)


def _check_finite(inputs: Mapping[str, np.ndarray], served: ServedRoute) -> None:
    """Raise InvalidInput, which names the first row with a NaN or an infinity that the route
    refuses.
    """
    for name in served.finite_inputs:
        sound = np.isfinite(inputs[name])
        if not sound.all():
            row = int(np.argmin(sound.reshape(len(sound), -1).all(axis=1)))
            raise InvalidInput(
                f"inputs.{name}: row {row} has NaN or an infinity, route {served.name} allows"
                " finite numbers only"
            )


def _check_bounds(inputs: Mapping[str, np.ndarray], served: ServedRoute) -> None:
    """Raise InvalidInput, which names the first value outside an input's bounds."""
    for spec in served.bounded_inputs:
        values = inputs[spec.name]
        low = -math.inf if spec.min is None else spec.min
        high = math.inf if spec.max is None else spec.max
        outside = ~((values >= low) & (values <= high))  # NaN too
        if outside.any():
            given = values[outside].flat[0]
            raise InvalidInput(
                f"inputs.{spec.name}: given {given}, allowed {_describe_bounds(spec)}"
            )


def _describe_bounds(spec: TensorSpec) -> str:
    if spec.min is None:
        return f"at most {spec.max}"
    return f"at least {spec.min}" if spec.max is None else f"{spec.min} to {spec.max}"


def check_in_time(request: Request, now: float) -> float:
    """Return the time of arrival. Raises DeadlineExceeded if the deadline has passed."""
    if request.deadline is not None and request.deadline <= now:
        raise DeadlineExceeded("the request's deadline had passed when it arrived")
    return now


def check_room(
    call: Call,
    lane: Lane,
    claim: Claim,
    rows: int,
    due: float,
    now: float,
    scheduler: Scheduler,
    settings: EngineSettings,
) -> None:
    """Check that `rows` more rows fit before the stage at which they enter, and can be in time.

    Raises Overloaded if the queue has no place for them, DeadlineExceeded if the stage is predicted
    to end after their deadline.
    """
    lanes = call.served.every_lane
    waiting = count_waiting(lanes)
    free = settings.max_queued_rows - waiting
    calls = claim.share.calls or 1  # small requests fit beside large ones of a caller
    is_small = rows * calls <= free
    if is_small and call.deadline is None:  # nearly all: what follows would find nothing
        more_s = lane.first_s if rows == 1 else drain_s(lane, rows)
        if more_s * calls * claim.share.turns() <= settings.max_queued_s:
            return
    _check_queue(call, lane, claim, rows, free, is_small, settings)
    if call.deadline is not None:
        needed_s = scheduler.predict_s(lane, due, now, rows, claim)
        needed_s += extra_s(lane, rows, call.cost_share)
        _check_deadline(call.deadline, needed_s, now, settings)


def count_waiting(lanes: Sequence[Lane]) -> int:
    """Return how many rows wait in these lanes, or will."""
    waiting = 0
    for one in lanes:
        waiting += one.rows + one.looked_up
    return waiting


def _check_queue(
    call: Call,
    lane: Lane,
    claim: Claim,
    rows: int,
    free: int,  # rows that may wait beside those that do
    is_small: bool,
    settings: EngineSettings,
) -> None:
    """Raise Overloaded if the queue has no place for the rows, or their caller's would wait for
    too long.
    """
    lanes = call.served.every_lane
    own = [queue for one in lanes if (queue := one.queue_of(claim.share)) is not None]
    own_rows = sum([queue.rows for queue in own])
    if rows > free or (own and not is_small and own_rows + rows > FREE_SHARE_DIVISOR * free):
        most = settings.max_queued_rows
        raise Overloaded(
            f"route {call.served.name!r} has {most - free} rows waiting, at most {most} may wait,"
            " and fewer of one caller",
            retry_after_s=max(1.0, waiting_s(own)),
        )
    if own:
        turns, calls = claim.share.turns(), claim.share.calls or 1
        if (more_s := drain_s(lane, rows)) * calls * turns > settings.max_queued_s:
            _check_wait(call, waiting_s(own), more_s, turns, settings)


def _check_deadline(deadline: float, needed_s: float, now: float, settings: EngineSettings) -> None:
    left_s = deadline - settings.reply_margin_s - now
    if needed_s > left_s:
        raise DeadlineExceeded(
            f"the first stage is predicted to need {needed_s * 1e3:.1f} ms, "
            f"the request's deadline leaves {max(0.0, left_s) * 1e3:.1f} ms"
        )
