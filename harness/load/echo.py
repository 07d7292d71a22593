"""The baseline cost of an HTTP server: bare ASGI echoes under uvicorn, configured like Sparing.

`POST /raw` returns the body unchanged; `POST /json` parses it and writes it again with orjson. Any
cost above these is the server's own.
"""

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import uvicorn

# ASGI's own shapes: its messages are dictionaries of anything
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application; GET returns 200 when it is ready."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
        body = b"".join(parts)
    kind = b"application/octet-stream"
    if scope["path"] == "/json":
        kind = b"application/json"
        body = orjson.dumps(orjson.loads(body))
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        echo,
        host="127.0.0.1",
        port=parser.parse_args().port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
