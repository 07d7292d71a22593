"""A connection to Redis that is opened again when it is needed, and closed when an exchange goes
wrong.

After a timeout the reply may still be on its way; the next question would get it. So a connection
whose exchange did not end well is never used again. Knows of the client library no more than the
methods of its connection; timeouts are the caller's.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

Command = tuple[bytes | int, ...]
_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # wrong stub


class RedisConnection:
    """A connection that is opened when it is needed, and closed when an exchange goes wrong."""

    def __init__(
        self, connection: Any, connect_timeout_s: float, refusal: type[Exception]
    ) -> None:  # Any: the library's connections are typed in part only
        self._connection = connection
        self._connect_timeout_s = connect_timeout_s
        self._refusal = refusal  # what a reply that is an error is raised as
        self._open = False
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> "asyncio.Task[None]":
        """Begin to connect; a failure is told to whoever waits for it, if anybody does."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add_done_callback(_consume_error)
        return self._opening

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:  # Any: whatever Redis says
        """Each command's reply, the error itself where Redis refused. One at a time."""
        await self._wait_connected()
        connection = self._connection
        try:
            packed = b"".join(map(_pack, commands))
            await connection.send_packed_command(packed, check_health=False)
            return [await self._read() for _ in commands]
        except BaseException:  # a timeout's cancellation too: the reply may still come
            await self._discard()
            raise

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._discard()

    async def _wait_connected(self) -> None:
        """Wait for the connection; it goes on being opened when the caller waits no longer."""
        if self._open and await self._connection.can_read():  # closed, or bytes nobody asked for
            await self._discard()
        if not self._open:
            await asyncio.shield(self.open())

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connection.connect()
            self._open = True
        except BaseException:
            await self._discard()
            raise
        finally:
            self._opening = None

    async def _discard(self) -> None:
        self._open = False
        await self._connection.disconnect(nowait=True)

    async def _read(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except self._refusal as error:
            return error


def _consume_error(opening: "asyncio.Task[None]") -> None:
    """Who waited for it may have left, and asyncio would log what nobody took."""
    if not opening.cancelled():
        opening.exception()
