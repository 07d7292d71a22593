"""A connection to the present master, which sentinels name each time it is opened.

When the master fails, its connections break or time out and are closed; the next one is opened to
the replica that the sentinels have promoted by then. A former master closes its connections too.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, RedisError

SENTINEL_TIMEOUT_S = 0.5  # for the answer of one; then the next is asked


class MasterConnection:
    """Has what `RedisConnection` uses of the library's connections."""

    def __init__(self, master: str, connection: Any, sentinels: Sequence[Any]) -> None:
        """`connection`: a closed one, whose host and port are set here; `sentinels`: closed ones to
        all sentinels. Any: the library's connections are only partly typed.
        """
        self._master = master
        self._connection = connection
        self._sentinels = list(sentinels)  # the one that answered last comes first

    async def connect(self) -> None:
        """Connect to the master. Raises RedisError or OSError."""
        connection = self._connection
        connection.host, connection.port = await self._find_master()
        await connection.connect()
        await connection.send_command("ROLE", check_health=False)
        try:
            role = await connection.read_response(disable_decoding=True)
        except NoPermissionError:  # the user may not ask, and is believed
            return
        if role[0] != b"master":
            raise RedisConnectionError("the sentinels name a Redis that is no master")

    async def send_packed_command(self, command: bytes, *, check_health: bool) -> None:
        await self._connection.send_packed_command(command, check_health=check_health)

    async def read_response(self, *, disable_decoding: bool) -> Any:  # any Redis reply
        try:
            return await self._connection.read_response(disable_decoding=disable_decoding)
        except ReadOnlyError as error:  # a master no longer: closed, and the sentinels asked again
            raise RedisConnectionError("the Redis is no master any more") from error

    async def can_read(self) -> bool:
        found: bool = await self._connection.can_read()
        return found

    async def disconnect(self, *, nowait: bool) -> None:
        await self._connection.disconnect(nowait=nowait)

    async def _find_master(self) -> tuple[str, int]:
        for sentinel in self._sentinels:
            try:
                async with asyncio.timeout(SENTINEL_TIMEOUT_S):
                    found = await self._ask(sentinel)
            except (RedisError, OSError, TimeoutError):
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return found
        raise RedisConnectionError("no sentinel answers that knows the master")

    async def _ask(self, sentinel: Any) -> tuple[str, int] | None:
        try:
            await sentinel.connect()
            await sentinel.send_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master, check_health=False
            )
            reply = await sentinel.read_response(disable_decoding=True)
        finally:
            await sentinel.disconnect(nowait=True)
        return None if reply is None else (reply[0].decode(), int(reply[1]))
