"""Answers one-row requests whose JSON has come before, from the cache, without parsing them.

What such a request has in common with the one before is kept: the hash of everything but the row's
bytes, and the reply without the answer's bytes. A cached row then costs a hash, a lookup and a
join. The first reply of each kind is written by `serving.http.infer.tensor_body`; it is kept only
if the stored bytes, put behind its JSON, give the same reply.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cache.packing import Layout, Packed
from serving.http.infer.tensor_body import Headers

_MAX_TENANTS = 64  # of one header
_MAX_REPLIES = 16  # kinds of replies to one header

# The declared type of each output of a reply, in its order; None for a fact about the answer.
OutputTypes = Mapping[str, np.dtype[Any] | None]


class _KnownReply(NamedTuple):
    """A reply without its answer's bytes."""

    layout: Layout
    headers: Headers
    json: bytes
    slices: Sequence[slice]  # of the stored answer, in the order of the reply


class RepeatedRow:
    """What one-row requests with the same JSON share."""

    __slots__ = ("_hashers", "_replies", "outputs", "start")

    def __init__(self, start: int, outputs: OutputTypes) -> None:
        self.start = start  # of the row's bytes in the body
        self.outputs = outputs  # all sent as bytes
        self._hashers: dict[str, hashlib.blake2b] = {}  # by tenant
        self._replies: dict[tuple[int, str], _KnownReply] = {}

    def find_hasher(self, tenant: str) -> "hashlib.blake2b | None":
        """Return the hash of what a tenant's requests share, once it is kept."""
        return self._hashers.get(tenant)

    def keep_hasher(self, tenant: str, hasher: "hashlib.blake2b") -> None:
        if len(self._hashers) >= _MAX_TENANTS:
            self._hashers.clear()
        self._hashers[tenant] = hasher

    def write(self, packed: Packed, energy_source: str) -> tuple[Headers, bytes] | None:
        """Return the reply with a stored answer; None if none of its kind is kept."""
        known = self._replies.get((id(packed.layout), energy_source))
        if known is None:
            return None
        content, slices = packed.content, known.slices
        if len(slices) == 1:
            return list(known.headers), known.json + content[slices[0]]
        return list(known.headers), b"".join([known.json, *[content[one] for one in slices]])

    def keep_reply(self, packed: Packed, energy_source: str, headers: Headers, body: bytes) -> None:
        """Keep a reply with this answer, unless its bytes differ from the stored ones."""
        layout = packed.layout
        slices = _find_slices(layout, self.outputs)
        if slices is None:
            return
        answer = b"".join([packed.content[one] for one in slices])
        json = body[: len(body) - len(answer)]
        if json + answer != body:
            return
        if len(self._replies) >= _MAX_REPLIES:
            self._replies.clear()
        known = _KnownReply(layout, list(headers), json, slices)
        self._replies[id(layout), energy_source] = known  # holds the layout, so its id stays


def _find_slices(layout: Layout, outputs: OutputTypes) -> Sequence[slice] | None:
    """Return where the outputs are in a stored answer, neighbours together; None if one is not, or
    has another type than the declared one: its bytes would equal the reply's by chance only.
    """
    fields = dict(layout.outputs)
    places: list[slice] = []
    for name, declared in outputs.items():
        if name not in fields:
            return None
        dtype, start = layout.row.fields[fields[name]][:2]  # type: ignore[index]
        if dtype.base != declared:
            return None
        end = start + dtype.itemsize
        if places and places[-1].stop == start:
            places[-1] = slice(places[-1].start, end)
        else:
            places.append(slice(start, end))
    return places
