"""Replies to one-row requests whose rows ran in one batch: they differ in the answers' bytes only.

From the third such reply on, the bytes of all rows are ready, behind the JSON of the second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.columns import take_rows
from core.datatypes import DATATYPES
from core.manifest import Manifest
from core.messages import Outcomes, Reply, RowAnswers
from serving.http.infer.tensor_body import Headers, ParsedRequest

_MIN_ROWS = 4  # of a batch: for fewer it does not pay
_MAX_ROW_BYTES = 4096


class BatchReplies:
    """The replies to the rows of one batch. Without `headers` nothing is known yet."""

    __slots__ = ("_content", "_json", "_row_bytes", "_who", "headers", "outcomes")

    def __init__(self, outcomes: Outcomes | None) -> None:
        self.outcomes = outcomes
        self.headers: Headers = []
        self._who: tuple[object, ...] = ()
        self._json = b""
        self._content = b""
        self._row_bytes = 0

    def find(self, reply: Reply, parsed: ParsedRequest) -> bytes | None:
        """Return the body of a reply with answers of this batch; None if it must be written."""
        if not self.headers or _describe(reply, parsed) != self._who:
            return None
        start = reply.parts[0].at[0] * self._row_bytes
        return self._json + self._content[start : start + self._row_bytes]

    def keep(
        self,
        reply: Reply,
        parsed: ParsedRequest,
        manifest: Manifest,
        headers: Headers,
        body: bytes,
    ) -> None:
        """Keep a written reply, if the others of its batch can be made from it."""
        who, outcomes = _describe(reply, parsed), reply.parts[0].outcomes
        if who is None:
            return
        content = _join_outputs(outcomes.outputs, manifest, parsed)
        if content is None:
            return
        row_bytes = content.shape[1]
        self._json = body[: len(body) - row_bytes]
        self._content, self._row_bytes = content.tobytes(), row_bytes
        self._who, self.headers = who, list(headers)


def begin_batch(reply: Reply, parsed: ParsedRequest) -> BatchReplies:
    """Return what is known after the first reply: which batch it was, unless its replies cannot be
    made from the first ones, or it is large.
    """
    outcomes = reply.parts[0].outcomes
    rows = len(outcomes.confidence)
    if rows < _MIN_ROWS or _describe(reply, parsed) is None:
        return BatchReplies(None)
    columns = [outcomes.outputs.get(name) for name in outcomes.outputs]
    sizes = [one.nbytes for one in columns if isinstance(one, np.ndarray)]
    if len(sizes) < len(columns) or sum(sizes) > rows * _MAX_ROW_BYTES:
        return BatchReplies(None)
    return BatchReplies(outcomes)


def _describe(reply: Reply, parsed: ParsedRequest) -> tuple[object, ...] | None:
    """Return what else the JSON depends on; None for a reply that is not one computed row without
    an id, with all outputs sent as bytes.
    """
    parts = reply.parts
    if len(parts) != 1 or parsed.id or reply.errors or len(parsed.binary) != len(parsed.names):
        return None
    if len(parts[0].at) != 1 or parts[0].similar:
        return None
    return reply.digest, reply.energy_source, *parsed.names


def join_answers(
    part: RowAnswers, manifest: Manifest, parsed: ParsedRequest, body: bytes
) -> bytes | None:
    """Return the answers of a part's rows, as bytes one behind the other, where `body` is the reply
    to the first, and the replies differ in them only. None if they may differ in more, or are
    large.
    """
    if parsed.id or len(parsed.binary) != len(parsed.names):
        return None
    columns = part.outcomes.outputs
    taken = {name: take_rows(columns[name], part.at) for name in parsed.names if name in columns}
    sizes = [one.nbytes for one in taken.values() if isinstance(one, np.ndarray)]
    if sum(sizes) > _MAX_ROW_BYTES * len(part.at):
        return None
    content = _join_outputs(taken, manifest, parsed)
    if content is None:
        return None
    answers = content.tobytes()
    return answers if body.endswith(answers[: content.shape[1]]) else None


def _join_outputs(
    outputs: Mapping[str, object], manifest: Manifest, parsed: ParsedRequest
) -> npt.NDArray[np.uint8] | None:
    """Return the bytes of the named outputs of all rows, [N, bytes]; None unless all are arrays of
    declared numbers.
    """
    types = {spec.name: DATATYPES[spec.datatype] for spec in manifest.outputs}
    return _join_rows([(outputs.get(name), types.get(name)) for name in parsed.names])


def _join_rows(
    columns: Sequence[tuple[object, np.dtype[Any] | None]],
) -> npt.NDArray[np.uint8] | None:
    blocks = []
    for column, declared in columns:
        if not isinstance(column, np.ndarray) or column.dtype.kind not in "iuf":
            return None
        if column.dtype != declared:  # written as another type
            return None
        rows = np.ascontiguousarray(column).reshape(len(column), -1)
        blocks.append(rows.view(np.uint8))
    return np.concatenate(blocks, axis=1) if blocks else None
