"""What a server may answer: the allowed statuses, sentences for errors, and right answers."""

from collections.abc import Sequence

import orjson

from reliability.wire.conversation import Conversation, Ends, HttpReply, Right
from reliability.wire.rpc_wire import RpcReply

ALLOWED = frozenset({200, 400, 401, 404, 405, 408, 411, 413, 414, 415, 417, 422, 429, 431})
NOT_OFFERED = frozenset({501, 505})  # a coding or a version that HTTP knows and we do not
TOO_LATE = 504
REFUSALS = frozenset({429, 503})
OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED = 0, 3, 4, 5, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16
RPC_ALLOWED = frozenset(
    {OK, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED}
)
# Where the transport itself refuses, gRPC's library chooses the status, or resets the stream.
TRANSPORT = frozenset({"grpc framing", "grpc headers", "grpc http2"})
RPC_TRANSPORT = frozenset({1, 2, INTERNAL})
MAX_SENTENCE = 1000


def judge_http(conversation: Conversation, replies: Sequence[HttpReply], lost: bool) -> str:
    """An empty string, or what is wrong."""
    final = [reply for reply in replies if reply.status >= 200]
    for reply in final:
        if fault := _judge_status(conversation, reply):
            return fault
    if conversation.ends is not Ends.ANSWERED:
        return ""
    if len(final) < conversation.answers and lost:
        return f"lost: {len(final)} of {conversation.answers} answers, and the connection is closed"
    faults = (
        _judge_right(conversation, right, reply)
        for right, reply in zip(conversation.rights, final, strict=False)
    )
    return next((fault for fault in faults if fault), "")


def _judge_right(conversation: Conversation, right: Right, reply: HttpReply) -> str:
    late = conversation.timed and reply.status == TOO_LATE
    if late or (conversation.refusable and _is_refusal(reply)):
        return ""
    if reply.status != 200:
        return f"wrong: a valid request was answered {reply.status} {reply.body[:200]!r}"
    fault = right(reply)
    return fault and f"wrong: {fault}"


def _is_refusal(reply: HttpReply) -> bool:
    """Under load: to be asked again later."""
    return reply.status in REFUSALS and reply.headers.get(b"retry-after", b"").isdigit()


def _judge_status(conversation: Conversation, reply: HttpReply) -> str:
    late = reply.status == TOO_LATE and conversation.timed
    refused = conversation.refusable and _is_refusal(reply)
    if reply.status not in ALLOWED | NOT_OFFERED and not late and not refused:
        return f"status {reply.status} {reply.body[:200]!r}"
    if reply.status == 200 or conversation.bodiless:
        return ""
    return _judge_sentence(reply.body)


def _judge_sentence(body: bytes) -> str:
    try:
        table = orjson.loads(body)
        (sentence,) = table.values()
    except (ValueError, AttributeError):
        return f"an error without a sentence: {body[:200]!r}"
    if list(table) != ["error"] or not isinstance(sentence, str):
        return f"an error without a sentence: {body[:200]!r}"
    if not 10 < len(sentence) <= MAX_SENTENCE or not sentence.isprintable():
        return f"a sentence of {len(sentence)} characters: {sentence[:200]!r}"
    return ""


def judge_rpc(conversation: Conversation, reply: RpcReply) -> str:
    """An empty string, or what is wrong."""
    assert conversation.call is not None
    if reply.hung:
        return "hang: the call has no end"
    if conversation.call.cancels:
        return ""
    transport = conversation.kind in TRANSPORT
    if reply.grpc_status is None:
        refused = reply.reset is not None or reply.lost or reply.http_status not in {b"", b"200"}
        return "" if transport and refused else f"lost: the call ended without a status: {reply}"
    late = conversation.timed and reply.grpc_status == DEADLINE_EXCEEDED
    if conversation.valid and (late or _is_rpc_refusal(conversation, reply)):
        return ""
    if conversation.rpc_right is None:
        return _judge_rpc_status(conversation, reply, transport)
    if reply.grpc_status != OK:
        return f"wrong: a valid call ended {reply.grpc_status} {reply.grpc_message[:200]!r}"
    try:
        fault = conversation.rpc_right(reply.messages())
    except ValueError as error:
        fault = str(error)
    return fault and f"wrong: {fault}"


def _is_rpc_refusal(conversation: Conversation, reply: RpcReply) -> bool:
    return conversation.refusable and reply.grpc_status in {RESOURCE_EXHAUSTED, UNAVAILABLE}


def _judge_rpc_status(conversation: Conversation, reply: RpcReply, transport: bool) -> str:
    late = reply.grpc_status == DEADLINE_EXCEEDED and conversation.timed
    known = transport and reply.grpc_status in RPC_TRANSPORT
    if reply.grpc_status not in RPC_ALLOWED and not late and not known:
        return f"grpc status {reply.grpc_status} {reply.grpc_message[:200]!r}"
    return ""
