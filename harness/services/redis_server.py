"""A real redis-server for benchmarks and tests: on a free port, in a folder of its own, which can
be killed, paused, filled and started again.
"""

import signal

import redis

from harness.child_process import ChildProcess, find_program
from harness.servers import find_free_port


class RedisServer(ChildProcess):
    """`with RedisServer() as server:`; options as on redis-server's command line. It is empty after
    every start. Raises FileNotFoundError with a sentence where none is installed.
    """

    def __init__(self, *options: str) -> None:
        program = find_program("redis-server", "redis-server")
        super().__init__()
        self.port = find_free_port()
        self.command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", str(self.folder), *options,
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def has_started(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def pause(self) -> None:
        """Stop the process: it keeps connections and accepts new ones, but does not answer."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def client(self) -> "redis.Redis":
        """Return a plain client, to read the content or corrupt it."""
        return redis.Redis(port=self.port, socket_timeout=5.0)

    def keys(self) -> list[bytes]:
        with self.client() as client:
            found: list[bytes] = list(client.scan_iter(count=1000))
        return found
