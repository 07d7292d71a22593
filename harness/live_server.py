"""A real server in a process of its own, for tests: started, asked, told to stop, or killed."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType

from harness.waiting import wait_until

ROOT = Path(__file__).parents[1]


class LiveServer:
    """`with LiveServer(models) as server:`; both endpoints on free ports of 127.0.0.1."""

    def __init__(self, models: Path, settings: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "settings.toml"
        path.write_text(settings)
        self.log = Path(self._folder.name) / "log"
        self._command = [
            sys.executable, "-m", "sparing.cli", "serve", "--models", str(models),
            "--settings", str(path), "--http-port", "0", "--grpc-port", "0",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]
        self.http_port = 0
        self.grpc_port = 0

    def __enter__(self) -> "LiveServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._folder.cleanup()

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_until(self._has_started, "the server does not start", 60.0)
        except AssertionError:
            self.kill()
            raise

    def _has_started(self) -> bool:
        ended = self.process.poll() is not None
        text = self.log.read_text()
        found = re.search(r"HTTP +http://[\d.]+:(\d+) +gRPC +[\d.]+:(\d+)", text)
        if found:
            self.http_port, self.grpc_port = int(found[1]), int(found[2])
        assert found or not ended, f"the server did not start:\n{text}"
        return found is not None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def get_json(self, path: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.get(path))
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith((name + "{", name + " ")) and all(
                f'{label}="{value}"' in line for label, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024
