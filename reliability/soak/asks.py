"""The requests of a soak: all valid; some are slow, cut short or cancelled.

A row that a deadline or an energy budget ends may have the answer of any stage that it passed; the
answer says which, and must be that stage's. Every other row has the one right answer.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
import orjson

from reliability.fuzz import rpc_calls, valid_http
from reliability.fuzz.damage import split
from reliability.fuzz.protobuf import VARINT, Field, text, write
from reliability.fuzz.rpc_messages import MESSAGES, make_fields, parameter
from reliability.fuzz.valid_http import compare, infer_path, post, write_table
from reliability.samples import Sample
from reliability.wire.conversation import (
    Call,
    Conversation,
    Ends,
    HttpReply,
    Right,
    RpcRight,
)

OUTPUTS = ("label", "probabilities", "exit", "stopped_by")
CUT = frozenset({"deadline", "energy"})
SURENESS = (0.0, 0.6, 0.95, 1.0)  # of `min_confidence`; 0: not asked for


class Rows(NamedTuple):
    """The rows of one request, and whether they may end early."""

    samples: Sequence[Sample]
    parameters: Mapping[str, float]

    @property
    def timed(self) -> bool:
        return "timeout_ms" in self.parameters or "energy_mj" in self.parameters


Pool = Mapping[float, Sequence[Sample]]  # by the minimal confidence that they were computed with


def choose(rng: Random, pool: Pool) -> Rows:
    """Rows of one route with parameters; every second request has none."""
    parameters: dict[str, float] = {}
    least = 0.0
    if rng.random() < 0.5:
        least = rng.choice(SURENESS)
        if least:
            parameters["min_confidence"] = least
        if rng.random() < 0.4:
            parameters["timeout_ms"] = rng.choice((3.0, 8.0, 20.0, 60.0, 2000.0))
        if rng.random() < 0.2:
            parameters["energy_mj"] = rng.choice((0.001, 0.1, 1.0, 50.0))
        if rng.random() < 0.5:
            parameters["no_cache"] = 1
    samples = pool[least]
    first = rng.choice(samples)
    if rng.random() < 0.8:
        return Rows([first], parameters)
    same = [one for one in samples if one.manifest is first.manifest]
    return Rows([rng.choice(same) for _ in range(rng.choice((2, 4, 16)))], parameters)


def check_rows(outputs: Mapping[str, Any], rows: Rows) -> str:
    """Check a reply that reports where each row stopped and why; return what is wrong."""
    for name in OUTPUTS:
        if len(outputs.get(name, ())) != len(rows.samples):
            return f"{name} has {len(outputs.get(name, ()))} rows, right is {len(rows.samples)}"
    for place, sample in enumerate(rows.samples):
        stopped_by, exit_name = outputs["stopped_by"][place], outputs["exit"][place]
        if stopped_by in CUT and not rows.timed:
            return f"row {place} was stopped by {stopped_by}, which nothing asked for"
        right = sample.stages.get(exit_name) if stopped_by in CUT else sample.right
        if right is None:
            return f"row {place} stopped at {exit_name}, which it does not pass"
        given = {name: outputs[name][place] for name in ("label", "probabilities")}
        if fault := compare(right, given):
            return f"row {place} of {sample.route}, {stopped_by} at {exit_name}: {fault}"
    return ""


# HTTP --------------------------------------------------------------------------------------------


def ask_tensors(rng: Random, pool: Pool) -> Conversation:
    """JSON with an explanation; sometimes in several packets, as slow clients send it."""
    rows = choose(rng, pool)
    table = write_table(rows.samples) | {"outputs": [{"name": name} for name in OUTPUTS]}
    if rows.parameters:
        no_cache = {"no_cache": True} if "no_cache" in rows.parameters else {}
        table["parameters"] = {**rows.parameters, **no_cache}
    raw = post(infer_path(rows.samples[0]), orjson.dumps(table))
    return _http("http json", rng, raw, _expect_explained(rows), rows.timed)


def ask_form(rng: Random, pool: Pool) -> Conversation:
    """Plain requests in every form: nested, binary, pictures."""
    rows = [rng.choice(pool[0.0])]
    form = rng.choice((valid_http.ask_json, valid_http.ask_binary, valid_http.ask_pictures))
    raw, right = form(rng, rows)
    return _http("http forms", rng, raw, right, False)


def _http(kind: str, rng: Random, raw: bytes, right: Right, timed: bool) -> Conversation:
    slow = rng.random() < 0.05
    packets = split(rng, raw) if slow else [raw]
    pause_s = rng.choice((0.002, 0.02, 0.1)) if slow else 0.0
    return Conversation(kind, packets, rights=[right], timed=timed, refusable=True, pause_s=pause_s)


def _expect_explained(rows: Rows) -> Right:
    def check(reply: HttpReply) -> str:
        try:
            return check_rows(valid_http.read_outputs(reply), rows)
        except (ValueError, KeyError, TypeError) as error:
            return f"not an infer answer: {error!r}"

    return check


def ask_page(rng: Random, pool: Pool) -> Conversation:
    raw, right = valid_http.ask_page(rng, pool[0.0])
    return Conversation("http pages", [raw], rights=[right])


def leave(rng: Random, pool: Pool) -> Conversation:
    """A client that disconnects after its request, or in the middle of it."""
    raw, _ = rng.choice(valid_http.FORMS)(rng, [rng.choice(pool[0.0])])
    if rng.random() < 0.5:
        raw = raw[: rng.randrange(len(raw))]
    pause_s = rng.choice((0.0, 0.001, 0.01, 0.2))
    return Conversation("http left", split(rng, raw), Ends.ABANDONED, pause_s=pause_s)


# gRPC --------------------------------------------------------------------------------------------


def ask_call(rng: Random, pool: Pool) -> Conversation:
    """Mostly unary calls; sometimes several requests on one stream."""
    if rng.random() < 0.25:
        return rpc_calls.make_valid(rng, pool[0.0])
    rows = choose(rng, pool)
    fields = _explain(make_fields(rng, rows.samples, "a"), rows)
    call = Call(rpc_calls.make_headers(rpc_calls.INFER), [rpc_calls.envelope(write(fields))])
    return Conversation(
        "grpc unary",
        grpc=True,
        call=call,
        rpc_right=_expect_call(rows),
        timed=rows.timed,
        refusable=True,
    )


def _explain(fields: list[Field], rows: Rows) -> list[Field]:
    controls = [
        parameter(4, "no_cache", Field(1, VARINT, b"\x01"))
        if name == "no_cache"
        else parameter(4, name, Field(4, 1, struct.pack("<d", value)))
        for name, value in rows.parameters.items()
    ]
    return [*fields, *controls, *(Field(6, 2, [text(1, name)]) for name in OUTPUTS)]


def _expect_call(rows: Rows) -> RpcRight:
    def check(messages: Sequence[bytes]) -> str:
        if len(messages) != 1:
            return f"{len(messages)} messages, right is 1"
        return check_rows(read_explained(MESSAGES.infer_response.FromString(messages[0])), rows)

    return check


def read_explained(message: Any) -> dict[str, Any]:
    """Outputs by name, texts included, raw or typed."""
    found: dict[str, Any] = {}
    raws = message.raw_output_contents
    for place, tensor in enumerate(message.outputs):
        if tensor.datatype == "BYTES":
            items = _unpack(raws[place]) if raws else tensor.contents.bytes_contents
            found[tensor.name] = [item.decode() for item in items]
        elif raws:
            dtype = {"INT64": "<i8", "FP32": "<f4"}[tensor.datatype]
            found[tensor.name] = np.frombuffer(raws[place], dtype).reshape(tuple(tensor.shape))
        else:
            field = {"INT64": "int64_contents", "FP32": "fp32_contents"}[tensor.datatype]
            values = getattr(tensor.contents, field)
            found[tensor.name] = np.array(values).reshape(tuple(tensor.shape))
    return found


def _unpack(raw: bytes) -> list[bytes]:
    items: list[bytes] = []
    place = 0
    while place < len(raw):
        (size,) = struct.unpack_from("<I", raw, place)
        items.append(raw[place + 4 : place + 4 + size])
        place += 4 + size
    return items


def ask_stream(rng: Random, pool: Pool) -> Conversation:
    return rpc_calls.make_stream(rng, pool[0.0], bad=0.0)


def take_back(rng: Random, pool: Pool) -> Conversation:
    return rpc_calls.cancel(rng, pool[0.0])


Ask = Callable[[Random, Pool], Conversation]
ASKS: Sequence[tuple[float, Ask]] = (
    (40, ask_tensors),
    (15, ask_form),
    (2, ask_page),
    (3, leave),
    (30, ask_call),
    (7, ask_stream),
    (3, take_back),
)


def make_ask(rng: Random, pool: Pool) -> Conversation:
    (ask,) = rng.choices([ask for _, ask in ASKS], [weight for weight, _ in ASKS])
    return ask(rng, pool)
