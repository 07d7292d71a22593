"""Queries a Prometheus as Grafana does: one instant for tiles and tables, a range for lines."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class QueryError(Exception):
    """Prometheus rejected a query; the text is its reason."""


class Source:
    """A Prometheus, and the time range of queries: its length and its number of steps."""

    def __init__(self, url: str, back_s: float, steps: int) -> None:
        self.url = url.rstrip("/")
        self.end_s = time.time()
        self.start_s = self.end_s - back_s
        self._step_s = back_s / steps

    def ask(self, expr: str, instant: bool) -> list[dict[str, Any]]:
        """Return the result's series, each with `metric` (labels) and `value` or `values`.

        Raises QueryError.
        """
        if instant:
            return self._ask("query", {"query": expr, "time": self.end_s})
        options = {"start": self.start_s, "end": self.end_s, "step": self._step_s}
        return self._ask("query_range", {"query": expr, **options})

    def _ask(self, what: str, options: dict[str, object]) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(options)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(error.read().decode()) from error
        return found
