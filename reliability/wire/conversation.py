"""What is sent to a server on one connection, and what it must reply.

`packets` go over the wire in their order. A gRPC call is kept as its parts until it is sent: its
stream's number depends on the connection.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

Header = tuple[bytes, bytes]
Right = Callable[["HttpReply"], str]  # an empty string, or what is wrong
RpcRight = Callable[[Sequence[bytes]], str]  # of a call's messages


class HttpReply(NamedTuple):
    """One answer, read whole."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get(b"connection", b"").lower() == b"close"


class Ends(Enum):
    """How a conversation ended."""

    ANSWERED = "answered"  # so many answers are due, and the connection goes on
    CLOSED = "closed"  # no answer can be expected: we stop sending, and the server has to close
    ABANDONED = "abandoned"  # we go away in the middle


@dataclass(frozen=True, slots=True)
class Call:
    """A gRPC call: `data` is its messages as they are framed."""

    headers: Sequence[Header]
    pieces: Sequence[bytes]  # each a DATA frame
    half_closes: bool = True
    cancels: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """One mutated or valid exchange. Without `rights` every answer of the allowed set will do."""

    kind: str
    packets: Sequence[bytes] = ()
    ends: Ends = Ends.ANSWERED
    answers: int = 1  # due, where it ends ANSWERED
    rights: Sequence[Right] = ()  # one for each answer due
    call: Call | None = None
    rpc_right: RpcRight | None = None
    grpc: bool = False
    timed: bool = False  # has a time limit, so it may be too late
    refusable: bool = False  # the server may be too busy for it
    pause_s: float = 0.001  # between packets, and before it is abandoned
    half_closes: bool = False  # we send no more, and still want the answers
    bodiless: bool = False  # a HEAD: its answer has a length and no body

    @property
    def valid(self) -> bool:
        return bool(self.rights) or self.rpc_right is not None

    @property
    def raw(self) -> bytes:
        """Everything that was sent, for a report."""
        if self.call is None:
            return b"".join(self.packets)
        lines = [b"%s: %s" % header for header in self.call.headers]
        return b"\n".join(lines) + b"\n\n" + b"".join(self.call.pieces)
