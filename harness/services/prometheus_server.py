"""A real Prometheus for trials and tests: on a free port, in a folder of its own, with rules, and
targets that may change while it runs.
"""

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.child_process import ChildProcess, find_program
from harness.servers import find_free_port

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


class PrometheusServer(ChildProcess):
    """`with PrometheusServer(rules, ["127.0.0.1:3000"], 0.25) as server:`; `rules` is a rules
    file's text. Raises FileNotFoundError with a sentence where none is installed.
    """

    def __init__(self, rules: str, targets: Sequence[str], scrape_interval_s: float) -> None:
        program = find_program("prometheus", "prometheus")
        super().__init__()
        config = _CONFIG.format(interval_ms=round(scrape_interval_s * 1e3))
        (self.folder / "prometheus.yml").write_text(config)
        (self.folder / "rules.yml").write_text(rules)
        self.watch(targets)
        self.port = find_free_port()
        self.command = [
            program, f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage", "--log.level=warn",
        ]  # fmt: skip

    def has_started(self) -> bool:
        try:
            return bool(self._get("/-/ready"))
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def watch(self, targets: Sequence[str]) -> None:
        """Scrape these from now on, and no others; it takes some seconds to be seen."""
        next_file = self.folder / "targets.next"
        next_file.write_text(json.dumps([{"targets": list(targets)}]))
        next_file.rename(self.folder / "targets.json")

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
