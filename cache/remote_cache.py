"""The remote cache: answers in a Redis that processes share.

One MGET a look-up, pipelined SETs, a few connections, a hard timeout, and a circuit breaker for
each of both. Nothing here raises but a caller's own cancellation: what Redis cannot answer in time
is a miss and a count. A connection whose exchange did not end well is closed before anybody else
can use it, so that a late reply never answers a later question; the seal of each value (`encoding`)
says so once more. Which rows are worth asking for is the engine's business.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from cache.circuit_breaker import BreakerState, CircuitBreaker
from cache.encoding import VERSION, Encoding, StoredAnswer, UnencodableAnswer
from cache.redis_connection import Command, RedisConnection
from cache.remote_counts import Reason, RemoteCounts
from core.messages import Key, Outcome

MAX_KEYS = 64  # of one exchange
MAX_EXCHANGE_BYTES = 2**18  # of the values of one, unless a single value is larger
MAX_PENDING_BYTES = 2**23
CONNECT_TIMEOUT_S = 2.0  # TLS takes several turns; nobody waits for that longer than his timeout
FAILURES = 3  # in a row, then it is left alone
RETRY_S = 0.25


_log = logging.getLogger("sparing.cache")


class RemoteCache:
    """Make it, use it and close it inside one running loop."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        *,
        timeout_s: float = 0.01,
        ttl_s: float = 3600.0,
        prefix: str = "sparing:",
        max_connections: int = 4,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError for a URL that is none; opens nothing yet."""
        if max_connections < 2:
            raise ValueError(f"max_connections: {max_connections} given, 2 or more are allowed")
        self.timeout_s = timeout_s
        self.max_concurrent_lookups = max_connections - 1  # that may be under way at once
        self._encoding = Encoding(secret)
        self._prefix = prefix.encode() + b"%d:" % VERSION
        self._ttl_s = ttl_s
        self._wall_clock = wall_clock
        self._lookup_breaker = CircuitBreaker(FAILURES, RETRY_S, clock)
        self._store_breaker = CircuitBreaker(FAILURES, RETRY_S, clock)
        self._connections = [
            RedisConnection(make_connection(url), CONNECT_TIMEOUT_S, ResponseError)
            for _ in range(max_connections)
        ]
        self._lookup_connections: asyncio.LifoQueue[RedisConnection] = asyncio.LifoQueue()
        for link in self._connections[1:]:
            self._lookup_connections.put_nowait(link)
        self._store_connections: asyncio.LifoQueue[RedisConnection] = asyncio.LifoQueue()
        self._store_connections.put_nowait(self._connections[0])
        self._pending: deque[tuple[Key, bytes, int]] = deque()
        self._pending_bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._hits = self._misses = self._stores = self._lookups = 0
        self._lookup_s = 0.0
        self._clock = clock
        self._errors: Counter[Reason] = Counter()

    def connect(self) -> None:
        """Open all connections before a row needs one; trouble is met when one is needed."""
        for link in self._connections:
            link.open()

    def lookup_state(self) -> BreakerState:
        """Whether look-ups are made now: closed yes, open no, half-open a single one."""
        return self._lookup_breaker.state()

    async def look_up(
        self, keys: Sequence[Key], within_s: float | None = None
    ) -> Sequence[StoredAnswer | None] | None:
        """What is known of at most MAX_KEYS keys, in one MGET; None: it could not be asked, or not
        in time.
        """
        command = (b"MGET", *[self._prefix + key for key in keys])
        began = self._clock()
        replies = await self._attempt(
            self._lookup_breaker,
            self._lookup_connections,
            [command],
            within_s or self.timeout_s,
            len(keys),
        )
        found = None
        if replies is not None and isinstance(replies[0], list) and len(replies[0]) == len(keys):
            found = self._decode(keys, replies[0])
            self._lookups += 1
            self._lookup_s += self._clock() - began
        hits = 0 if found is None else len(keys) - found.count(None)
        self._hits += hits
        self._misses += len(keys) - hits
        return found

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None:
        """Keep the answer for `ttl_s` (default: the cache's): sent soon, with others; dropped when
        too many wait already.
        """
        if self._store_breaker.state() == "open" or self._pending_bytes >= MAX_PENDING_BYTES:
            self._errors["dropped"] += 1
            return
        item = self._encode(key, outcome, ttl_s)
        if item is None:
            return
        self._pending.append(item)
        self._pending_bytes += len(item[1])
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def close(self) -> None:
        """Store what waits if that goes quickly, then close all connections."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing], timeout=CONNECT_TIMEOUT_S)
            if self._flushing is not None:
                self._flushing.cancel()
        for link in self._connections:
            await link.close()

    def counts(self) -> RemoteCounts:
        return RemoteCounts(
            hits=self._hits,
            misses=self._misses,
            stores=self._stores,
            errors=dict(self._errors),
            lookups=self._lookups,
            lookup_s=self._lookup_s,
            lookup_state=self._lookup_breaker.state(),
            store_state=self._store_breaker.state(),
            pending_bytes=self._pending_bytes,
        )

    # Looking up ----------------------------------------------------------------------------------

    def _decode(self, keys: Sequence[Key], values: Sequence[object]) -> list[StoredAnswer | None]:
        now = self._wall_clock()
        found: list[StoredAnswer | None] = []
        for key, value in zip(keys, values, strict=True):
            known = self._encoding.decode(key, value, now) if isinstance(value, bytes) else None
            if known is None and value is not None:
                self._errors["invalid"] += 1
            found.append(known if known is not None and known.left_s > 0 else None)
        return found

    # Storing -------------------------------------------------------------------------------------

    def _encode(
        self, key: Key, outcome: Outcome, ttl_s: float | None
    ) -> tuple[Key, bytes, int] | None:
        ttl_s = self._ttl_s if ttl_s is None else ttl_s
        try:
            value = self._encoding.encode(key, outcome, self._wall_clock() + ttl_s)
        except UnencodableAnswer:
            self._errors["unstorable"] += 1
            return None
        return self._prefix + key, value, max(1, int(ttl_s * 1000))

    async def _flush(self) -> None:
        """Send what waits, in batches, until nothing does."""
        try:
            while self._pending:
                batch = _take_batch(self._pending)
                self._pending_bytes -= sum(len(value) for _, value, _ in batch)
                await self._send(batch)
        finally:
            self._flushing = None

    async def _send(self, batch: Sequence[tuple[Key, bytes, int]]) -> None:
        commands = [(b"SET", key, value, b"PX", ttl_ms) for key, value, ttl_ms in batch]
        replies = await self._attempt(
            self._store_breaker, self._store_connections, commands, self.timeout_s, len(batch)
        )
        if replies is not None:
            kept = replies.count(b"OK")
            self._stores += kept
            if kept < len(batch):
                self._errors["refused"] += len(batch) - kept

    # Talking with Redis --------------------------------------------------------------------------

    async def _attempt(
        self,
        breaker: CircuitBreaker,
        links: "asyncio.LifoQueue[RedisConnection]",
        commands: Sequence[Command],
        timeout_s: float,
        keys: int,
    ) -> list[Any] | None:
        """The commands' replies, of which at least one is no error; None: counted, and a failure
        for the breaker.
        """
        if not breaker.allow_attempt():
            self._errors["dropped"] += keys
            return None
        try:
            async with asyncio.timeout(timeout_s):
                link = await links.get()
                try:
                    replies = await link.exchange(commands)
                finally:
                    links.put_nowait(link)
        except (TimeoutError, RedisTimeout):
            self._fail(breaker, "timeout", keys)
        except Exception as error:  # whatever a broken network, server or library comes up with
            self._fail(breaker, "connection", keys, type(error).__name__)
        else:
            if not all(isinstance(reply, ResponseError) for reply in replies):
                if breaker.record_success():
                    _log.info("the remote cache answers again")
                return replies
            self._fail(breaker, "refused", keys, str(replies[0]).partition(" ")[0])
        return None

    def _fail(self, breaker: CircuitBreaker, reason: Reason, keys: int, detail: str = "") -> None:
        self._errors[reason] += keys
        if breaker.record_failure():
            what = "answer" if breaker is self._lookup_breaker else "store"
            why = f"{reason}, {detail}" if detail else reason
            _log.warning(
                "the remote cache does not %s (%s); tried again every %g s",
                what, why, RETRY_S,
            )  # fmt: skip


def _take_batch(waiting: deque[tuple[Key, bytes, int]]) -> list[tuple[Key, bytes, int]]:
    batch = [waiting.popleft()]
    size_bytes = len(batch[0][1])
    while waiting and len(batch) < MAX_KEYS:
        size_bytes += len(waiting[0][1])
        if size_bytes > MAX_EXCHANGE_BYTES:
            break
        batch.append(waiting.popleft())
    return batch


def make_connection(url: str) -> AbstractConnection:
    """An unopened connection. Raises ValueError with a sentence that repeats nothing of the URL,
    which may hold a password.
    """
    try:
        options = dict(parse_url(url))
    except ValueError:
        raise ValueError(
            "the URL is none of redis://, rediss:// or unix://; characters of a password "
            "other than letters and digits are to be percent-encoded"
        ) from None
    allowed = {"host", "port", "path", "db", "username", "password", "connection_class"}
    foreign = sorted(name for name in options if name not in allowed and name[:4] != "ssl_")
    if foreign:
        raise ValueError(f"the URL sets {foreign[0]!r}, which is no option here")
    kind: Any = options.pop("connection_class", Connection)  # three classes, no common signature
    try:
        connection: AbstractConnection = kind(
            **options,
            protocol=2,
            socket_timeout=None,  # timeouts are ours
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,  # opening needs no more turns than it must
        )
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()  # certificates are read now, not while rows wait
    except (TypeError, ValueError, OSError, RedisError):
        raise ValueError(
            "the URL has options that do not fit its scheme, or that name files that cannot be read"
        ) from None
    return connection
