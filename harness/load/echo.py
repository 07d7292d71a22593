"""The baseline cost of an HTTP server: a bare echo on uvloop and httptools.

`POST /raw` returns the body unchanged; `POST /json` parses it and writes it again with orjson. Any
cost above these is the server's own.
"""

import argparse
import asyncio

import httptools
import orjson
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/%s\r\ncontent-length: %d\r\n\r\n"


class Echo(asyncio.Protocol):
    """One connection; GET returns 200 when the server is ready."""

    _transport: asyncio.Transport
    _is_json = False
    _body = b""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._is_json = url == b"/json"

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        kind = b"octet-stream"
        if self._is_json:
            kind, body = b"json", orjson.dumps(orjson.loads(body))
        self._transport.write(_HEAD % (kind, len(body)) + body)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
