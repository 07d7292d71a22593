"""What stands for a request at its connection, besides uvicorn's own cycle."""

from http import HTTPStatus

from uvicorn._types import ASGI3Application, ASGISendCallable

from serving.calls import Call
from serving.http_paths import Known
from serving.http_status import CLOSE, say
from serving.oip_http import JSON_TYPE


class _Nobody:
    """Whom the server wakes when a client goes away: a turn has its own way of learning it."""

    def set(self) -> None:
        pass


class Turn:
    """A held request that the engine works on; to the server it stands for its own cycle."""

    __slots__ = ("body", "call", "disconnected", "keep_alive", "known", "response_complete")
    more_body = False
    message_event = _Nobody()

    def __init__(self, known: Known, body: bytes) -> None:
        self.known = known
        self.body = body
        self.call: Call | None = None
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
