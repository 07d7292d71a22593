"""The least that an HTTP server costs in Python: uvloop, httptools, and one write a reply.

`POST` returns the body unchanged, `GET` returns 200. It checks nothing and bounds nothing, so any
cost above it is the server's own. `echo` has the baseline with ASGI.
"""

import argparse
import asyncio

import httptools
import uvloop


class BareEcho(asyncio.Protocol):
    """Answers each request as soon as its last byte is there."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(BareEcho, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
