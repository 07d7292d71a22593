"""The channel between a supervisor and a worker: one socket pair, lines of JSON, never a pickle.

| kind | to | content |
|---|---|---|
| none, the first | worker | its number, log level and settings |
| `ready`, `refused` | supervisor | the worker serves, or never will |
| `check` | worker | a request to report that it is alive |
| `alive` | supervisor | the reply: empty, or what is stuck |
| `count` | worker | a request for its own scrape |
| `counts` | supervisor | the reply; also sent once when the worker ends |
| `sum` | supervisor | a request for the scrape of all workers |
| `sums` | worker | the reply |

A broken channel means that the other process has ended.
"""

import asyncio
import json
import socket
from typing import Any

Message = dict[str, Any]  # JSON values
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_MAX_MESSAGE_BYTES = 64 * 2**20


async def open_pipe(end: socket.socket) -> Streams:
    """Open one end of the channel as streams."""
    return await asyncio.open_unix_connection(sock=end, limit=_MAX_MESSAGE_BYTES)


def write_message(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def tell(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message, unless the channel is closing."""
    if not writer.is_closing():
        writer.write(write_message(message))


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message, or None if the other process has ended."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    return read_pipe(line) if line.endswith(b"\n") else None  # half a line: it was killed


def read_pipe(line: bytes) -> Message:
    message: Message = json.loads(line)
    return message
