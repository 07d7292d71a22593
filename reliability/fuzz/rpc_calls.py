"""gRPC calls: valid ones, changed messages, wrong framing of messages, and odd headers."""

import struct
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from reliability.fuzz.damage import damage, split
from reliability.fuzz.protobuf import Field, change, text, write
from reliability.fuzz.rpc_messages import (
    MESSAGES,
    expect_response,
    make_fields,
    make_parameters,
    read_response,
)
from reliability.fuzz.valid_http import choose_rows, compare
from reliability.samples import Sample
from reliability.wire.conversation import Call, Conversation, Header, RpcRight
from serving.grpc.messages import SERVICE

INFER = f"/{SERVICE}/ModelInfer".encode()
STREAM = f"/{SERVICE}/ModelStreamInfer".encode()
OTHERS = (
    b"ServerLive", b"ServerReady", b"ModelReady", b"ServerMetadata", b"ModelMetadata",
    b"ModelDelete", b"RepositoryIndex", b"ModelStatistics", b"", b"modelinfer",
)  # fmt: skip
HEALTH = (
    b"/grpc.health.v1.Health/Check", b"/grpc.health.v1.Health/Other",
    b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"/", b"", b"*", b"/a/b/c",
)  # fmt: skip
ODD_HEADERS: Sequence[Header] = (
    (b"grpc-timeout", b"5S"), (b"grpc-timeout", b"1m"), (b"grpc-timeout", b"0n"),
    (b"grpc-timeout", b"-1S"), (b"grpc-timeout", b"99999999999S"), (b"grpc-timeout", b"x"),
    (b"grpc-timeout", b""), (b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"nothing"),
    (b"grpc-accept-encoding", b"x" * 200), (b"x-bin", b"!!!"), (b"x-bin", b"AAAA"),
    (b"x", b"v" * 3000), (b"x", b"\xff\xfe"), (b"authorization", b"Bearer x"),
    (b"traceparent", b"junk"), (b"te", b"gzip"), (b"user-agent", b""), (b"grpc-status", b"0"),
    (b"content-length", b"5"), (b"content-type", b"text/html"), (b"grpc-trace-bin", b"AAAA"),
)  # fmt: skip
FATAL_HEADERS: Sequence[Header] = (
    (b"Upper", b"x"), (b"connection", b"close"), (b":late", b"x"), (b":path", b"/twice"),
    (b"x", b"v" * 20_000), (b"a\0b", b"x"), (b"x", b"a\nb"), (b"", b"x"),
)  # fmt: skip
TIMED = (b"grpc-timeout", b"timeout", b"energy_mj")


def envelope(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message as gRPC frames it."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


def make_headers(path: bytes) -> list[Header]:
    return [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"t"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    ]  # fmt: skip


def make_valid(rng: Random, samples: Sequence[Sample]) -> Conversation:
    rows = choose_rows(rng, samples)
    request_id = rng.choice(("", "a", "é"))
    data = envelope(write(make_fields(rng, rows, request_id)))
    pieces = split(rng, data) if rng.random() < 0.2 else [data]
    return Conversation(
        "valid",
        grpc=True,
        call=Call(make_headers(INFER), pieces),
        rpc_right=expect_response(rows, request_id),
    )


def mutate_message(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """One to three fields are wrong."""
    fields = make_fields(rng, choose_rows(rng, samples))
    if rng.random() < 0.25:
        fields += make_parameters(rng)
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            fields = change(rng, fields)
    return _ask("grpc fields", INFER, write(fields))


def mutate_bytes(rng: Random, samples: Sequence[Sample]) -> Conversation:
    message = damage(rng, write(make_fields(rng, choose_rows(rng, samples))))
    return _ask("grpc bytes", INFER, message)


def mutate_other(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Other procedures, and unknown ones."""
    fields = [text(1, rng.choice(samples).route), text(2, rng.choice(("", "1", "9", "\0")))]
    if rng.random() < 0.6:
        fields = change(rng, fields)
    path = f"/{SERVICE}/".encode() + rng.choice(OTHERS)
    return _ask(
        "grpc other calls", path if rng.random() < 0.7 else rng.choice(HEALTH), write(fields)
    )


def mutate_headers(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Headers that are odd, but that HTTP/2 allows."""
    headers = make_headers(INFER)
    if rng.random() < 0.3:
        del headers[rng.choice((0, 1, 3, 4, 5))]
    headers += rng.sample(ODD_HEADERS, rng.choice((1, 1, 2, 4)))
    data = envelope(write(make_fields(rng, choose_rows(rng, samples))))
    timed = any(name == b"grpc-timeout" for name, _ in headers)
    return Conversation("grpc headers", grpc=True, timed=timed, call=Call(headers, [data]))


def mutate_envelope(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Wrong lengths in a message's frame; no message, several, or a part of one."""
    message = write(make_fields(rng, choose_rows(rng, samples)))
    sizes = (0, 1, len(message) - 1, len(message) + 1, 2**24 + 1, 2**31, 2**32 - 1)
    pieces = rng.choice(
        (
            [envelope(message, rng.choice((1, 2, 255)))],
            [envelope(message, 0, rng.choice(sizes))],
            [],
            [b""],
            [envelope(message)] * 2,
            [envelope(message)[: rng.randrange(20)]],
            [b"", envelope(message), b""],
            [damage(rng, envelope(message))],
        )
    )
    path = rng.choice((INFER, INFER, STREAM))
    return Conversation(
        "grpc framing", grpc=True, call=Call(make_headers(path), pieces), timed=True
    )


def cancel(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A caller that cancels with everything sent, or with a part."""
    data = envelope(write(make_fields(rng, choose_rows(rng, samples))))
    whole = rng.random() < 0.5
    pieces = [data if whole else data[: rng.randrange(len(data))]]
    headers = make_headers(rng.choice((INFER, STREAM)))
    return Conversation("grpc cancelled", grpc=True, call=Call(headers, pieces, whole, True))


def mutate_stream(rng: Random, samples: Sequence[Sample]) -> Conversation:
    return make_stream(rng, samples, bad=0.5)


def make_stream(rng: Random, samples: Sequence[Sample], bad: float) -> Conversation:
    """Good and bad requests on one stream: the good ones must be answered rightly."""
    good: dict[str, Sequence[Sample]] = {}
    sent: list[bytes] = []
    for place in range(rng.choice((1, 2, 4, 8))):
        rows = choose_rows(rng, samples)
        whole = rng.random() >= bad
        request_id = f"id{place}" if whole else f"no-such-{place}"  # no damage makes them alike
        fields: Sequence[Field] = make_fields(rng, rows, request_id)
        if whole:
            good[request_id] = rows
            sent.append(envelope(write(fields)))
        else:
            sent.append(envelope(damage(rng, write(change(rng, fields[:-1])))))
    pieces = sent if rng.random() < 0.5 else split(rng, b"".join(sent))
    timed = any(name in piece for name in TIMED for piece in sent)
    return Conversation(
        "grpc stream",
        grpc=True,
        timed=timed,
        call=Call(make_headers(STREAM), pieces),
        rpc_right=_expect_stream(good),
    )


def _expect_stream(good: Mapping[str, Sequence[Sample]]) -> RpcRight:
    """The last answer to each row of the good requests is the right one."""

    def check(messages: Sequence[bytes]) -> str:
        answers = [MESSAGES.stream_response.FromString(raw) for raw in messages]
        for request_id, samples in good.items():
            mine = [one for one in answers if one.infer_response.id == request_id]
            if fault := _compare_rows(mine, samples):
                return f"{request_id}: {fault}"
        return ""

    return check


def _compare_rows(answers: Sequence[Any], samples: Sequence[Sample]) -> str:
    """A stream answers a request step by step, each time some of its rows."""
    last: dict[int, dict[str, Any]] = {}
    for answer in answers:
        if answer.error_message:
            return f"failed: {answer.error_message}"
        outputs = read_response(answer.infer_response)
        rows = answer.infer_response.parameters["rows"].string_param
        for place, row in enumerate(map(int, rows.split(",")) if rows else range(len(samples))):
            last[row] = {name: array[place] for name, array in outputs.items()}
    if sorted(last) != list(range(len(samples))):
        return f"rows {sorted(last)} of {len(samples)} are answered"
    for row, sample in enumerate(samples):
        if fault := compare(sample.right, last[row]):
            return fault
    return ""


def _ask(kind: str, path: bytes, message: bytes) -> Conversation:
    timed = any(name in message for name in TIMED)
    call = Call(make_headers(path), [envelope(message)])
    return Conversation(kind, grpc=True, timed=timed, call=call)
