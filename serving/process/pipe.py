"""The line between a supervisor and a worker: one socket pair, lines of JSON, never a pickle.

| kind | to | what |
|---|---|---|
| none, the first | worker | its number, log level and settings |
| `ready`, `refused` | supervisor | the worker serves, or never will |
| `check` | worker | a question for a sign of life |
| `alive` | supervisor | the answer: empty, or what is stuck |
| `count` | worker | a question for what it counted |
| `counts` | supervisor | the answer, a packed snapshot; once more, unasked, when the worker ends |
| `sum` | supervisor | a question for the scrape of all workers |
| `sums` | worker | the answer |

When it breaks, the other side has ended.
"""

import asyncio
import json
import socket
from typing import Any

Message = dict[str, Any]  # JSON's values
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_MAX_MESSAGE_BYTES = 64 * 2**20


async def open_pipe(end: socket.socket) -> Streams:
    return await asyncio.open_unix_connection(sock=end, limit=_MAX_MESSAGE_BYTES)


def write_message(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def tell(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send it, unless the line is closing."""
    if not writer.is_closing():
        writer.write(write_message(message))


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None where the other side has ended."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    return read_pipe(line) if line.endswith(b"\n") else None  # half of one: it was killed


def read_pipe(line: bytes) -> Message:
    message: Message = json.loads(line)
    return message
