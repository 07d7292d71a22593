"""A real redis-server for benchmarks and tests: on a free port, in a folder of its own, which can
be killed, paused, filled and started again.
"""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import redis

from harness.servers import find_free_port

MISSING = "redis-server is missing: run apt-get install redis-server as root"


class RedisServer:
    """`with RedisServer() as server:`; options as on redis-server's command line. Raises
    FileNotFoundError with a sentence where none is installed.
    """

    def __init__(self, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError(MISSING)
        self._folder = tempfile.TemporaryDirectory()
        self.port = find_free_port()
        self.password = ""
        self._command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", self._folder.name, *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, also once more after `kill`; it is empty then."""
        log = Path(self._folder.name) / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(self._command, stdout=file, stderr=file)
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                time.sleep(0.01)
        raise AssertionError(f"redis-server did not start:\n{log.read_text()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

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
