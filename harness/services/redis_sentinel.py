"""A real Redis, its replica, and a sentinel that promotes the replica when the Redis fails."""

from contextlib import ExitStack
from typing import Self

import redis

from harness.child_process import ChildProcess, find_program
from harness.servers import find_free_port
from harness.services.redis_server import RedisServer
from harness.waiting import wait_until

MASTER = "main"
_DOWN_AFTER_MS = 500
_CONFIG = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {redis_port} 1
sentinel down-after-milliseconds {master} {down_after_ms}
sentinel failover-timeout {master} 5000
"""


class RedisSentinel(ChildProcess):
    """Watches one Redis alone: its own vote decides."""

    def __init__(self, redis_port: int) -> None:
        program = find_program("redis-server", "redis-server")
        super().__init__()
        self.port = find_free_port()
        config = self.folder / "sentinel.conf"  # which it rewrites
        config.write_text(
            _CONFIG.format(
                port=self.port,
                folder=self.folder,
                master=MASTER,
                redis_port=redis_port,
                down_after_ms=_DOWN_AFTER_MS,
            )
        )
        self.command = [program, str(config), "--sentinel"]

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, socket_timeout=5.0)

    def has_started(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def master_port(self) -> int:
        """Return the port of the Redis that it names as master."""
        with self.client() as client:
            found = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(found[1])

    def knows_replica(self) -> bool:
        """Whether it knows a replica that is connected to its master."""
        with self.client() as client:
            replicas = client.sentinel_slaves(MASTER)
        return any(one["master-link-status"] == "ok" for one in replicas)


class ReplicatedRedis:
    """`with ReplicatedRedis() as redis:`; `url` is for sentinels, the first of which is absent."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.first = stack.enter_context(RedisServer("--repl-diskless-sync-delay", "0"))
            self.second = stack.enter_context(
                RedisServer("--replicaof", "127.0.0.1", str(self.first.port))
            )
            wait_until(self._is_synced, "the replica does not follow")
            self.sentinel = stack.enter_context(RedisSentinel(self.first.port))
            wait_until(self.sentinel.knows_replica, "the sentinel does not find the replica")
            self._stack = stack.pop_all()
        self.url = f"redis+sentinel://127.0.0.1:{find_free_port()},127.0.0.1:{self.sentinel.port}"
        self.url += f"/{MASTER}/0"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has_failed_over(self) -> bool:
        """Whether the second Redis is the master, and the sentinel says so."""
        if self.sentinel.master_port() != self.second.port:
            return False
        with self.second.client() as client:
            return bool(client.role()[0] == b"master")

    def _is_synced(self) -> bool:
        with self.second.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")
