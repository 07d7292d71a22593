"""A connection to Redis that is reopened when needed, and closed when an exchange fails.

After a timeout the reply may still arrive, and the next command would get it. So a connection is
never used again after a failed exchange. The caller enforces timeouts.
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
    ) -> None:  # Any: the library's connections are only partly typed
        self._connection = connection
        self._connect_timeout_s = connect_timeout_s
        self._refusal = refusal  # the exception class for a reply that is an error
        self._open = False
        self._opening: asyncio.Task[None] | None = None
        self._next: Any = None  # the connection to use from the next exchange on

    def replace(self, connection: Any) -> None:
        """Use another connection, with other credentials, from the next exchange on."""
        self._next = connection

    def open(self) -> "asyncio.Task[None]":
        """Begin to connect; a failure is raised where the task is awaited."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add_done_callback(_consume_error)
        return self._opening

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:  # Any: any Redis reply
        """Return each command's reply, or its error. Only one exchange may run at a time."""
        await self._wait_connected()
        connection = self._connection
        try:
            packed = b"".join(map(_pack, commands))
            await connection.send_packed_command(packed, check_health=False)
            return [await self._read() for _ in commands]
        except BaseException:  # also a timeout's cancellation: the reply may still arrive
            await self._discard()
            raise

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._discard()

    async def _wait_connected(self) -> None:
        """Wait for the connection; opening continues if the caller stops waiting."""
        if self._next is not None:
            await self._use_next()
        if self._open and await self._connection.can_read():  # closed, or unexpected bytes
            await self._discard()
        if not self._open:
            await asyncio.shield(self.open())

    async def _use_next(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])  # it discards its connection
        await self._discard()
        self._connection, self._next = self._next, None

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
    """Consume the error, as asyncio logs errors of tasks that nothing awaits."""
    if not opening.cancelled():
        opening.exception()
