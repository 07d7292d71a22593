"""Gathers requests of one row that arrive together, so that they cost little more than their rows.

Requests that came in one pass of the event loop, with the same JSON before their row's bytes and
from the same caller, become one group: one admission, one place in the queue, one batch of replies.
What cannot be admitted as a group is answered alone, so a request that is refused gets its own
sentence and refuses no other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from core.messages import Key, RowAnswers
from serving.callers import Caller
from serving.engine.catalog import ServedRoute
from serving.engine.group_calls import GroupCall, pick_row
from serving.http.body import BodyBudget
from serving.http.infer.repeated_headers import KnownHeader, RepeatedHeaders
from serving.http.infer.tensor_body import Headers
from serving.http.interfaces import Engine, Metrics
from serving.http.status import Refusal, write_response

_log = logging.getLogger("sparing.http")


class RowRequest(NamedTuple):
    """A request of one row that can be gathered."""

    known: KnownHeader
    served: ServedRoute
    caller: Caller
    key: Key | None  # None: not looked up yet


class WaitingRow(Protocol):
    """The exchange that waits for a row's answer."""

    def answer_row(self, message: bytes, headers: Headers, head_bytes: int) -> None:
        """Answer with a whole HTTP message, whose head has so many bytes."""

    def refuse_row(self, response: Refusal) -> None: ...
    def answer_alone(self, body: bytes) -> None:
        """Answer the request without its group, which could not be admitted."""


class RowGroup:
    """Requests of one row with the same header, until all are answered."""

    __slots__ = ("bodies", "call", "held_bytes", "keys", "left", "request", "waiting")

    def __init__(self, request: RowRequest) -> None:
        self.request = request  # the first
        self.bodies: list[bytes] = []  # until it is submitted
        self.keys: list[Key | None] = []
        self.waiting: list[WaitingRow | None] = []  # by row; None: answered, or its client has left
        self.left = 0  # rows that wait
        self.held_bytes = 0
        self.call: GroupCall | None = None


class GatheredRow(NamedTuple):
    """A request in a group."""

    group: RowGroup
    row: int


class Gathering:
    """The groups of one endpoint. Lives on the event loop."""

    def __init__(
        self,
        engine: Engine,
        bodies: BodyBudget,
        headers: RepeatedHeaders,
        metrics: Metrics,
        fail: Callable[[RowRequest, Exception], Refusal],  # counts it
        max_rows: int,
    ) -> None:
        self._engine = engine
        self._bodies = bodies
        self._headers = headers
        self._metrics = metrics
        self._fail = fail
        self._max_rows = max_rows
        self._open: dict[tuple[object, ...], RowGroup] = {}  # not submitted yet
        self._full: list[
            RowGroup
        ] = []  # not submitted yet, with as many rows as a request may have

    def add(self, request: RowRequest, body: bytes, waiting: WaitingRow) -> GatheredRow:
        """Add a request to the group of this pass."""
        known, served, caller, key = request
        name = (id(known), id(served), caller, key is None)  # the group refers to the objects
        group = self._open.get(name)
        if group is None:
            if not self._open and not self._full:
                asyncio.get_running_loop().call_soon(self._submit_all)
            group = self._open[name] = RowGroup(request)
        group.bodies.append(body)
        group.keys.append(key)
        group.waiting.append(waiting)
        group.left += 1
        row = GatheredRow(group, len(group.waiting) - 1)
        if len(group.waiting) >= self._max_rows:
            del self._open[name]
            self._full.append(group)
        return row

    def leave(self, gathered: GatheredRow) -> None:
        """Release a request whose client has disconnected."""
        group, row = gathered
        group.waiting[row] = None
        group.left -= 1
        if group.call is None:
            return
        if group.left:
            self._engine.release_row(group.call, row)
        else:
            self._release(group)

    def _submit_all(self) -> None:
        groups = [*self._full, *self._open.values()]
        self._full, self._open = [], {}
        for group in groups:
            self._submit(group)

    def _submit(self, group: RowGroup) -> None:
        """Submit a group whose clients still wait; answer each alone if they are refused."""
        bodies, group.bodies = group.bodies, []
        if not group.left:
            return
        if self._begin_call(group, bodies):
            return
        rows, group.waiting, group.left = group.waiting, [], 0
        for waiting, body in zip(rows, bodies, strict=True):
            if waiting is not None:
                self._answer_alone(group.request, waiting, body)

    def _begin_call(self, group: RowGroup, bodies: Sequence[bytes]) -> bool:
        """Return whether the rows are admitted."""
        known, served, caller, _ = group.request
        held_bytes = sum(map(len, bodies))
        if not self._bodies.try_take(held_bytes, caller.name):
            return False
        request = known.parsed.request._replace(
            inputs=_join_inputs(known, bodies),
            tenant=caller.tenant,
            caller=caller.name,
            rollout_key=caller.rollout_key,
        )
        tell = partial(asyncio.get_running_loop().call_soon, self._answer, group)
        try:
            admitted = self._engine.admit_group(request, served, group.keys)
            call = self._engine.submit_group(request, admitted, tell)
        except Exception:  # each learns its own reason
            self._bodies.give_back(held_bytes, caller.name)
            return False
        group.call, group.held_bytes = call, held_bytes
        for row, waiting in enumerate(group.waiting):
            if waiting is None:
                self._engine.release_row(call, row)
        return True

    def _answer_alone(self, request: RowRequest, waiting: WaitingRow, body: bytes) -> None:
        try:
            waiting.answer_alone(body)
        except Exception as error:
            waiting.refuse_row(self._fail(request, error))

    def _answer(self, group: RowGroup) -> None:
        """Write the replies of the rows that ended."""
        if group.call is None:  # released, or never admitted
            return
        parts, failures = group.call.take()
        for part in parts:
            try:
                self._write(group, group.call, part)
            except Exception as error:
                self._refuse(group, part.rows, error)
        for failure, rows in failures:
            self._refuse(group, rows or range(len(group.waiting)), failure)
        if not group.left:
            self._release(group)

    def _write(self, group: RowGroup, call: GroupCall, part: RowAnswers) -> None:
        """Answer the rows of one part."""
        known, served, _, _ = group.request
        headers, body = self._headers.write(pick_row(call, part, 0), served.manifest, known.parsed)
        message = write_response(200, headers, body)
        head_bytes = len(message) - len(body)
        content = None
        if len(part.rows) > 1:
            content = self._headers.write_rows(part, served.manifest, known.parsed, body)
        left_before = group.left
        if content is None:
            self._send(group, part.rows[0], message, headers, head_bytes)
            for place in range(1, len(part.rows)):
                reply = pick_row(call, part, place)
                headers, body = self._headers.write(reply, served.manifest, known.parsed)
                message = write_response(200, headers, body)
                self._send(group, part.rows[place], message, headers, len(message) - len(body))
        else:
            row_bytes = len(content) // len(part.rows)
            start = message[: len(message) - row_bytes]
            at = 0
            for row in part.rows:
                answer = start + content[at : at + row_bytes]
                self._send(group, row, answer, headers, head_bytes)
                at += row_bytes
        self._metrics.count_request(served.name, "ok", left_before - group.left)

    def _send(
        self, group: RowGroup, row: int, message: bytes, headers: Headers, head_bytes: int
    ) -> None:
        waiting = group.waiting[row]
        if waiting is None:  # its client has disconnected
            return
        group.waiting[row] = None
        group.left -= 1
        try:
            waiting.answer_row(message, headers, head_bytes)
        except Exception:  # the others get their answers
            _log.exception("a reply could not be sent")

    def _refuse(self, group: RowGroup, rows: Sequence[int], error: Exception) -> None:
        for row in rows:
            waiting = group.waiting[row]
            if waiting is not None:
                group.waiting[row] = None
                group.left -= 1
                waiting.refuse_row(self._fail(group.request, error))

    def _release(self, group: RowGroup) -> None:
        call, group.call = group.call, None
        if call is not None:
            self._engine.release_call(call)
            self._bodies.give_back(group.held_bytes, group.request.caller.name)


def _join_inputs(known: KnownHeader, bodies: Sequence[bytes]) -> Mapping[str, np.ndarray]:
    """Return the inputs of these rows, [N, ...] each."""
    inputs = {}
    for name, dtype, shape, elements, start in known.inputs:
        end = start + elements * dtype.itemsize
        joined = b"".join([body[start:end] for body in bodies])
        inputs[name] = np.frombuffer(joined, dtype).reshape(len(bodies), *shape[1:])
    return inputs
