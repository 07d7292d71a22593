"""A real Prometheus that scrapes what a test serves, and a page for it to scrape."""

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.servers import find_free_port

MISSING = "prometheus is missing: run apt-get install prometheus as root"
CONFIG = """
global: {{scrape_interval: 500ms}}
scrape_configs: [{{job_name: sparing, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


class QueryError(Exception):
    """Prometheus refused a query; the text says why."""


class LivePrometheus:
    """`with LivePrometheus(port) as prometheus:`; it scrapes that port twice a second."""

    def __init__(self, target: int) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError(MISSING)
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        (folder / "prometheus.yml").write_text(CONFIG.format(port=target))
        self.port = find_free_port()
        self._log = folder / "log"
        self._command = [
            program, f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> "LivePrometheus":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.wait_for("up == 1")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    def wait_for(self, expr: str, patience_s: float = 60.0) -> None:
        """Until the query brings something."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.query(expr):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass  # it has not begun to listen
            time.sleep(0.1)
        raise AssertionError(f"nothing for {expr}:\n{self._log.read_text()}")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of a query now, each with its `value`."""
        return self._ask("query", {"query": expr})["result"]  # type: ignore[no-any-return]

    def query_range(self, expr: str, back_s: float, step_s: float) -> list[dict[str, Any]]:
        """The series of a query from so long ago to now, each with its `values`."""
        now = time.time()
        options = {"query": expr, "start": now - back_s, "end": now, "step": step_s}
        return self._ask("query_range", options)["result"]  # type: ignore[no-any-return]

    def label_values(self, label: str, match: str) -> list[str]:
        found: list[str] = self._ask(f"label/{label}/values", {"match[]": match})
        return found

    def _ask(self, what: str, options: dict[str, Any]) -> Any:  # whatever JSON says
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(options)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(error.read().decode()) from error


@contextmanager
def serve_page(render: Callable[[], str]) -> Iterator[int]:
    """An HTTP server of one page; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = render().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
