"""What stands for a request at its connection, besides uvicorn's own cycle."""

from http import HTTPStatus
from typing import NamedTuple

from uvicorn._types import ASGI3Application, ASGISendCallable

from serving.engine.calls import Call
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.paths import Known
from serving.http.status import CLOSE, say


class _Nobody:
    """Whom the server wakes when a client goes away: a turn has its own way of learning it."""

    def set(self) -> None:
        pass


class Work(NamedTuple):
    """What the engine does for a held request."""

    known: Known
    body: bytes
    call: Call


class Turn:
    """A held request that the engine works on; to the server it stands for its own cycle.

    Its connection keeps it until the next request comes, so it lets go of its work once answered.
    """

    __slots__ = ("disconnected", "keep_alive", "response_complete", "work")
    more_body = False
    message_event = _Nobody()

    def __init__(self) -> None:
        self.work: Work | None = None
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False


def make_refusal(status: HTTPStatus, sentence: str) -> ASGI3Application:
    """An application that answers a request with a refusal, in its turn."""
    body = say(sentence)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), CLOSE]

    async def refuse(_scope: object, _receive: object, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse
