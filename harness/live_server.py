"""A real server in a process of its own, for tests: started, asked, told to stop, or killed."""

import json
import re
import signal
import sys
import urllib.request
from pathlib import Path

from harness.child_process import ROOT as ROOT
from harness.child_process import ChildProcess
from harness.process_tree import read_resident_bytes
from harness.servers import read_metrics, sum_metric

# in the lines for people, and in a log of JSON
_PORTS = re.compile(
    r"(?:HTTP +https?://[\d.]+:|\"http_port\": )(\d+)(?: +gRPC +[\d.]+:|, \"grpc_port\": )(\d+)"
)


class LiveServer(ChildProcess):
    """`with LiveServer(models) as server:`; both endpoints on free ports of 127.0.0.1."""

    def __init__(self, models: Path, settings: str = "") -> None:
        super().__init__()
        path = self.folder / "settings.toml"
        path.write_text(settings)
        self.command = [
            sys.executable, "-m", "sparing.cli", "serve", "--models", str(models),
            "--settings", str(path), "--http-port", "0", "--grpc-port", "0",
        ]  # fmt: skip
        self.http_port = 0
        self.grpc_port = 0

    def has_started(self) -> bool:
        found = _PORTS.search(self.log.read_text())
        if found:
            self.http_port, self.grpc_port = int(found[1]), int(found[2])
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

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def get_json(self, path: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.get(path))
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        return sum_metric(read_metrics(self.http_port), name, **labels)

    def resident_bytes(self) -> int:
        return read_resident_bytes(self.process.pid)
