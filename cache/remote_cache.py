"""The answer cache in Redis, which processes share.

One MGET per lookup, pipelined SETs, a few connections, a hard timeout, and a circuit breaker each
for lookups and stores. Nothing raises except a caller's own cancellation: a lookup that Redis
does not answer in time is a counted miss. A connection is closed after a failed exchange, so that a
late reply never answers a later command; the seal of each value (`encoding`) detects that too. The
engine decides which rows are worth a lookup.
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
from cache.sentinels.address import is_sentinel_url, split_url
from cache.sentinels.connection import MasterConnection
from core.messages import Key, Outcome

MAX_KEYS = 64  # of one exchange
MAX_EXCHANGE_BYTES = 2**18  # of the values of one, unless a single value is larger
MAX_PENDING_BYTES = 2**23
CONNECT_TIMEOUT_S = 2.0  # TLS takes several round trips; a lookup still has its own timeout
FAILURES = 3  # in a row, until the breaker opens
RETRY_S = 0.25


_log = logging.getLogger("sparing.cache")


class RemoteCache:
    """Create, use and close it inside one running event loop."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        *,
        password: str = "",  # if the URL has none
        timeout_s: float = 0.01,
        ttl_s: float = 3600.0,
        prefix: str = "sparing:",
        max_connections: int = 4,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens no connection yet. Raises ValueError for a malformed URL."""
        if max_connections < 2:
            raise ValueError(f"max_connections: {max_connections} given, 2 or more are allowed")
        self.timeout_s = timeout_s
        self.max_concurrent_lookups = max_connections - 1  # the limit of concurrent lookups
        self._encoding = Encoding(secret)
        self._prefix = prefix.encode() + b"%d:" % VERSION
        self._ttl_s = ttl_s
        self._wall_clock = wall_clock
        self._lookup_breaker = CircuitBreaker(FAILURES, RETRY_S, clock)
        self._store_breaker = CircuitBreaker(FAILURES, RETRY_S, clock)
        self._connections = [
            RedisConnection(make_connection(url, password), CONNECT_TIMEOUT_S, ResponseError)
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
        """Open all connections before a row needs one; failures show when one is used."""
        for link in self._connections:
            link.open()

    def change_address(self, url: str, password: str = "") -> None:
        """Use another URL or password for every exchange that begins from now on. Raises
        ValueError for a malformed URL.
        """
        fresh = [make_connection(url, password) for _ in self._connections]
        for link, connection in zip(self._connections, fresh, strict=True):
            link.replace(connection)

    def lookup_state(self) -> BreakerState:
        """The breaker of lookups: closed allows them, open none, half-open a single one."""
        return self._lookup_breaker.state()

    async def look_up(
        self, keys: Sequence[Key], within_s: float | None = None
    ) -> Sequence[StoredAnswer | None] | None:
        """Look up at most MAX_KEYS keys in one MGET; None if Redis did not answer in time."""
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
        """Store the answer for `ttl_s` seconds (default: the cache's).

        It is sent soon, together with others, or dropped if too many are waiting.
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
        """Store the waiting answers if that is quick, then close all connections."""
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
        """Send the waiting answers, in batches, until there are none."""
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
        """Return the commands' replies, at least one without error.

        None: all failed, which is counted and recorded by the breaker.
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
        except Exception as error:  # a broken network, server or library may raise anything
            self._fail(breaker, "connection", keys, type(error).__name__)
        else:
            if not all(isinstance(reply, ResponseError) for reply in replies):
                if breaker.record_success():
                    _log.info("the Redis cache answers again")
                return replies
            self._fail(breaker, "refused", keys, str(replies[0]).partition(" ")[0])
        return None

    def _fail(self, breaker: CircuitBreaker, reason: Reason, keys: int, detail: str = "") -> None:
        self._errors[reason] += keys
        if breaker.record_failure():
            what = "answer" if breaker is self._lookup_breaker else "store"
            why = f"{reason}, {detail}" if detail else reason
            _log.warning(
                "the Redis cache does not %s (%s); trying again every %g s",
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


def make_connection(url: str, password: str = "") -> AbstractConnection | MasterConnection:
    """Create a connection without opening it. `password` is for a URL without one.

    Raises ValueError with a sentence that does not repeat the URL, which may hold a password.
    """
    if not is_sentinel_url(url):
        return _make_plain(url, password)
    of = split_url(url)
    return MasterConnection(
        of.master,
        _make_plain(of.redis, password),
        [_make_plain(sentinel) for sentinel in of.sentinels],
    )


def _make_plain(url: str, password: str = "") -> AbstractConnection:
    try:
        options = dict(parse_url(url))
    except ValueError:
        raise ValueError(
            "the URL must begin with redis://, rediss://, unix:// or redis+sentinel://; in a "
            "password, percent-encode all characters except letters and digits"
        ) from None
    allowed = {"host", "port", "path", "db", "username", "password", "connection_class"}
    foreign = sorted(name for name in options if name not in allowed and name[:4] != "ssl_")
    if foreign:
        raise ValueError(f"the URL sets {foreign[0]!r}, which is not an option here")
    if password:
        if "password" in options:
            raise ValueError("a password is given, and the URL has one too; allowed one")
        options["password"] = password
    kind: Any = options.pop("connection_class", Connection)  # three classes, no common signature
    try:
        connection: AbstractConnection = kind(
            **options,
            protocol=2,
            socket_timeout=None,  # this module enforces timeouts
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,  # saves round trips when opening
        )
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()  # read certificates now, not while rows wait
    except (TypeError, ValueError, OSError, RedisError):
        raise ValueError(
            "the URL has options that do not fit its scheme, or that name files that cannot be read"
        ) from None
    return connection
