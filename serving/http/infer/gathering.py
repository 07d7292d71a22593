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
from serving.engine.calls import make_reply
from serving.engine.catalog import ServedRoute
from serving.engine.group_calls import GroupCall
from serving.http.body import BodyBudget
from serving.http.infer.batch_replies import join_answers
from serving.http.infer.repeated_headers import KnownHeader, RepeatedHeaders
from serving.http.infer.tensor_body import Headers
from serving.http.interfaces import Engine, Metrics
from serving.http.status import Refusal, write_response

_log = logging.getLogger("sparing.http")

_Written = tuple[bytes, Headers, int]  # a whole HTTP message, its headers, the bytes of its head


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
        self._open: dict[tuple[object, ...], RowGroup] = {}  # that still take requests

    def add(self, request: RowRequest, body: bytes, waiting: WaitingRow) -> GatheredRow:
        """Add a request to the group of this pass. `Engine.drain` knows of it after the pass only;
        a server that drains waits for its connections first.
        """
        known, served, caller, key = request
        name = (id(known), id(served), caller, key is None)  # the group refers to the objects
        group = self._open.get(name)
        if group is None:
            group = self._open[name] = RowGroup(request)
            asyncio.get_running_loop().call_soon(self._submit, name, group)
        group.bodies.append(body)
        group.keys.append(key)
        group.waiting.append(waiting)
        group.left += 1
        if len(group.waiting) >= self._max_rows:
            del self._open[name]
        return GatheredRow(group, len(group.waiting) - 1)

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

    def _submit(self, name: tuple[object, ...], group: RowGroup) -> None:
        """Submit a group whose clients still wait; answer each alone if they are refused."""
        if self._open.get(name) is group:
            del self._open[name]
        bodies, group.bodies = group.bodies, []
        if not group.left or self._begin_call(group, bodies):
            return
        rows, group.waiting, group.left = group.waiting, [], 0
        for waiting, body in zip(rows, bodies, strict=True):
            if waiting is not None:
                self._answer_alone(group.request, waiting, body)

    def _begin_call(self, group: RowGroup, bodies: Sequence[bytes]) -> bool:
        """Return whether the rows are admitted."""
        caller, held_bytes = group.request.caller, sum(map(len, bodies))
        if not self._bodies.try_take(held_bytes, caller.name):
            return False
        try:
            call = group.call = self._submit_call(group, bodies)
        except Exception:  # each learns its own reason
            self._bodies.give_back(held_bytes, caller.name)
            return False
        group.held_bytes = held_bytes
        for row, waiting in enumerate(group.waiting):
            if waiting is None:
                self._engine.release_row(call, row)
        return True

    def _submit_call(self, group: RowGroup, bodies: Sequence[bytes]) -> GroupCall:
        known, served, caller, _ = group.request
        request = known.parsed.request._replace(
            inputs=_join_inputs(known, bodies),
            tenant=caller.tenant,
            caller=caller.name,
            rollout_key=caller.rollout_key,
        )
        tell = partial(asyncio.get_running_loop().call_soon, self._answer, group)
        admitted = self._engine.admit_group(request, served, group.keys)
        return self._engine.submit_group(request, admitted, tell)

    def _answer_alone(self, request: RowRequest, waiting: WaitingRow, body: bytes) -> None:
        try:
            waiting.answer_alone(body)
        except Exception as error:
            waiting.refuse_row(self._fail(request, error))

    def _answer(self, group: RowGroup) -> None:
        """Answer the rows that ended."""
        if group.call is None:  # released, or never admitted
            return
        parts, failures = group.call.take()
        for part in parts:
            self._answer_part(group, part)
        for failure, rows in failures:
            for row in rows or range(len(group.waiting)):
                self._end(group, row, failure)
        if not group.left:
            self._release(group)

    def _answer_part(self, group: RowGroup, part: RowAnswers) -> None:
        """Answer the rows of one part. The first reply serves for all if the others differ in the
        answers' bytes only.
        """
        known, served, caller, _ = group.request
        first = self._write(group, part, 0)
        answers = None
        if len(part.rows) > 1 and not isinstance(first, Exception):
            message, headers, head_bytes = first
            answers = join_answers(part, served.manifest, known.parsed, message[head_bytes:])
        sent = int(self._end(group, part.rows[0], first))
        if answers is None:
            for place in range(1, len(part.rows)):
                sent += self._end(group, part.rows[place], self._write(group, part, place))
        else:
            row_bytes = len(answers) // len(part.rows)
            start = message[: len(message) - row_bytes]
            for place in range(1, len(part.rows)):
                answer = start + answers[place * row_bytes : (place + 1) * row_bytes]
                sent += self._end(group, part.rows[place], (answer, headers, head_bytes))
        if sent:
            self._metrics.count_request(served.name, "ok", sent)
        ended_bytes = known.body_bytes * len(part.rows)
        group.held_bytes -= ended_bytes
        self._bodies.give_back(ended_bytes, caller.name)

    def _write(self, group: RowGroup, part: RowAnswers, place: int) -> _Written | Exception:
        """Return the reply to one row, or why there is none."""
        known, served, _, _ = group.request
        try:
            reply = make_reply(served, [part.pick(place)])
            headers, body = self._headers.write(reply, served.manifest, known.parsed)
        except Exception as error:
            return error
        message = write_response(200, headers, body)
        return message, headers, len(message) - len(body)

    def _end(self, group: RowGroup, row: int, found: _Written | Exception) -> bool:
        """Send a row's reply, or its error; return whether an answer was sent."""
        waiting = group.waiting[row]
        if waiting is None:  # its client has disconnected
            return False
        group.waiting[row] = None
        group.left -= 1
        try:
            if isinstance(found, Exception):
                waiting.refuse_row(self._fail(group.request, found))
                return False
            waiting.answer_row(*found)
        except Exception:  # the others get their answers
            _log.exception("a reply could not be sent")
        return True

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
