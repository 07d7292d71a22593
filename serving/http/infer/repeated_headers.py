"""Caches of repeated headers: a client sends the same JSON before the bytes of every picture.

A parsed and checked header is kept under its exact bytes and the route's digest, and likewise the
header of the answer. Both caches are bounded, and hold only short headers without a request id. All
other requests go through `serving.http.infer.tensor_body` each time.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from core.datatypes import DATATYPES
from core.manifest import Manifest
from core.messages import Reply, Request
from serving.callers import UNKNOWN, Caller
from serving.engine.catalog import AUTO
from serving.http.infer.batch_replies import BatchReplies, begin_batch
from serving.http.infer.repeated_rows import RepeatedRow
from serving.http.infer.tensor_body import (
    Headers,
    ParsedRequest,
    read_request,
    write_blob,
    write_reply,
)
from serving.http.routing import Target
from serving.oip.outputs import gather_output, output_tensors, similar_rows
from serving.oip.tensors import Tensor

_MAX_HEADERS = 256
_MAX_HEADER_BYTES = 2048


class KnownHeader(NamedTuple):
    """A checked header: where each input is in the body, and the rest of the request."""

    inputs: Sequence[tuple[str, np.dtype[Any], tuple[int, ...], int, int]]
    body_bytes: int
    parsed: ParsedRequest
    row: RepeatedRow | None  # if the request has one row that the cache may answer
    gathers: bool  # it has one row, which may be computed with those of other requests


class RepeatedHeaders:
    """Reads requests and writes replies, faster from the second time on."""

    def __init__(self) -> None:
        self._requests: dict[tuple[bytes, str, str | None, bytes], KnownHeader] = {}
        self._replies: dict[tuple[object, ...], tuple[Headers, bytes]] = {}
        self._batch = BatchReplies(None)

    def find(
        self, body: bytes, length: bytes | None, manifest: Manifest, target: Target
    ) -> KnownHeader | None:
        """Return what is known of a request's header; None if `read` must follow."""
        if length is None or len(length) > 4 or not length.isdigit():
            return None
        known = self._requests.get(
            (manifest.digest, target.route, target.version, body[: int(length)])
        )
        return known if known is not None and known.body_bytes == len(body) else None

    def read(
        self,
        body: bytes,
        length: bytes | None,
        manifest: Manifest,
        target: Target,
        caller: Caller = UNKNOWN,
    ) -> ParsedRequest:
        """Like `read_request`, with the request's caller added."""
        parsed = read_request(body, length, manifest, target.route, target.version)
        if length is not None:
            header = body[: int(length)]
            known = _remember(parsed, len(header), len(body), manifest)
            if known is not None:
                if len(self._requests) >= _MAX_HEADERS:
                    self._requests.clear()
                self._requests[manifest.digest, target.route, target.version, header] = known
        request = parsed.request._replace(
            tenant=caller.tenant, caller=caller.name, rollout_key=caller.rollout_key
        )
        return parsed._replace(request=request)

    def write(
        self, reply: Reply, manifest: Manifest, parsed: ParsedRequest
    ) -> tuple[Headers, bytes]:
        """Like `write_reply`."""
        batch = self._batch
        if batch.outcomes is reply.parts[0].outcomes:
            known_row = batch.find(reply, parsed)
            if known_row is not None:
                return list(batch.headers), known_row
        headers, body = self._write(reply, manifest, parsed)
        if batch.outcomes is not reply.parts[0].outcomes:
            self._batch = begin_batch(reply, parsed)
        elif not batch.headers:
            batch.keep(reply, parsed, manifest, headers, body)
        return headers, body

    def _write(
        self, reply: Reply, manifest: Manifest, parsed: ParsedRequest
    ) -> tuple[Headers, bytes]:
        if parsed.id or reply.errors or len(parsed.binary) != len(parsed.names):
            return write_reply(reply, manifest, parsed)
        arrays, blobs = _write_blobs(reply, manifest, parsed.names)
        shapes = [(array.dtype, array.shape) for array in arrays]
        rows = reply.row_count
        who = (reply.digest, reply.energy_source, similar_rows(reply), rows)
        name = (*who, *parsed.names, *shapes, *map(len, blobs))
        known = self._replies.get(name)
        if known is not None:
            headers, header = known
            return list(headers), b"".join([header, *blobs])
        headers, body = write_reply(reply, manifest, parsed)
        written = output_tensors(reply, manifest, parsed.names)
        if any(
            tensor.array.dtype != array.dtype for tensor, array in zip(written, arrays, strict=True)
        ):
            return headers, body  # a stage returned another type than the declared one
        if len(self._replies) >= _MAX_HEADERS:
            self._replies.clear()
        self._replies[name] = (headers.copy(), body[: len(body) - sum(map(len, blobs))])
        return headers, body


def _write_blobs(
    reply: Reply, manifest: Manifest, names: Sequence[str]
) -> tuple[Sequence[Tensor], Sequence[bytes]]:
    """Return what distinguishes the headers of the named outputs, and the outputs' bytes."""
    parts = reply.parts
    if len(parts) == 1 and all(name in parts[0].outcomes.outputs for name in names):
        arrays = [gather_output(reply, name) for name in names]
        if all(array.dtype.kind in "iuf" for array in arrays):
            return arrays, [array.tobytes() for array in arrays]
    tensors = output_tensors(reply, manifest, names)
    return [tensor.array for tensor in tensors], [write_blob(tensor) for tensor in tensors]


def read_again(known: KnownHeader, body: bytes, caller: Caller = UNKNOWN) -> ParsedRequest:
    """Return a request with a known header."""
    inputs: dict[str, Tensor] = {}
    for name, dtype, shape, elements, start in known.inputs:
        inputs[name] = np.frombuffer(body, dtype, elements, start).reshape(shape)
    parsed = known.parsed
    old = parsed.request
    deadline = None if parsed.timeout_s is None else time.monotonic() + parsed.timeout_s
    request = Request(  # without names, which take as long again
        old.route, inputs, old.version, deadline, old.energy_mj, old.controls, old.no_cache,
        old.partial, False, caller.tenant, caller.name, caller.rollout_key,
    )  # fmt: skip
    return ParsedRequest(request, parsed.id, parsed.names, parsed.binary, parsed.timeout_s)


def _remember(
    parsed: ParsedRequest, header_bytes: int, body_bytes: int, manifest: Manifest
) -> KnownHeader | None:
    """Return a reusable header; None if offsets alone cannot read a next body, or it is too
    long.
    """
    if parsed.id or header_bytes > _MAX_HEADER_BYTES:
        return None
    places = []
    start = header_bytes
    for name, array in parsed.request.inputs.items():
        dtype = array.dtype
        if dtype.kind not in "uif" or start % dtype.itemsize:  # BYTES, BOOL, unaligned
            return None
        places.append((name, dtype, array.shape, array.size, start))
        start += array.nbytes
    if start != body_bytes:
        return None
    empty = parsed.request._replace(inputs={})  # a header must not keep its first picture
    row = None
    if _is_cacheable_row(parsed):
        types = {spec.name: DATATYPES[spec.datatype] for spec in manifest.outputs}
        row = RepeatedRow(header_bytes, {name: types.get(name) for name in parsed.names})
    gathers = _is_gatherable_row(parsed)
    return KnownHeader(places, body_bytes, parsed._replace(request=empty), row, gathers)


def _is_gatherable_row(parsed: ParsedRequest) -> bool:
    """Return whether it is one row without a deadline, a budget or parameters of its own."""
    request = parsed.request
    return (
        all(len(array) == 1 for array in request.inputs.values())
        and not request.controls
        and not request.partial
        and not request.route.startswith(AUTO)  # the router chooses for each request
        and request.energy_mj is None
        and parsed.timeout_s is None
    )


def _is_cacheable_row(parsed: ParsedRequest) -> bool:
    """Return whether it is one row, hashed in the order of the body, that any cached answer fits,
    and whose outputs are all sent as bytes.
    """
    request = parsed.request
    return (
        all(len(array) == 1 for array in request.inputs.values())
        and list(request.inputs) == sorted(request.inputs)
        and not request.no_cache
        and not request.controls
        and not request.route.startswith(AUTO)  # the router chooses for each request
        and (parsed.timeout_s is None or parsed.timeout_s > 0.0)
        and len(parsed.binary) == len(parsed.names)
    )
