"""A real Prometheus for trials and tests: on a free port, in a folder of its own, with rules, and
targets that may change while it runs.
"""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.servers import find_free_port

MISSING = "prometheus is missing: run apt-get install prometheus as root"
_START_LIMIT_S = 30.0
_CONFIG = """\
global:
  scrape_interval: {interval_ms}ms
  evaluation_interval: {interval_ms}ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: sparing
    file_sd_configs:
      - files: [targets.json]
        refresh_interval: 1s
"""


@dataclass(frozen=True, slots=True)
class Sample:
    labels: Mapping[str, str]
    value: float


class PrometheusServer:
    """`with PrometheusServer(rules, ["127.0.0.1:3000"], 0.25) as server:`; `rules` is a rules
    file's text. Raises FileNotFoundError with a sentence where none is installed.
    """

    def __init__(self, rules: str, targets: Sequence[str], scrape_interval_s: float) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError(MISSING)
        self._folder = tempfile.TemporaryDirectory()
        self._place = Path(self._folder.name)
        config = _CONFIG.format(interval_ms=round(scrape_interval_s * 1e3))
        (self._place / "prometheus.yml").write_text(config)
        (self._place / "rules.yml").write_text(rules)
        self.watch(targets)
        self.port = find_free_port()
        self._command = [
            program, f"--config.file={self._place / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._place / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage", "--log.level=warn",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> "PrometheusServer":
        log = self._place / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(self._command, stdout=file, stderr=file)
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self._get("/-/ready")
                return self
            except OSError:
                time.sleep(0.02)
        self._end()
        raise AssertionError(f"prometheus did not start:\n{log.read_text()}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def watch(self, targets: Sequence[str]) -> None:
        """Scrape these from now on, and no others; it takes some seconds to be seen."""
        next_file = self._place / "targets.next"
        next_file.write_text(json.dumps([{"targets": list(targets)}]))
        next_file.rename(self._place / "targets.json")

    def query(self, expr: str) -> list[Sample]:
        """The samples of an instant query that answers with a vector."""
        found = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        results = json.loads(found)["data"]["result"]
        return [Sample(one["metric"], float(one["value"][1])) for one in results]

    def firing(self) -> list[Mapping[str, str]]:
        """The labels of all alerts that fire now."""
        alerts = json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body
