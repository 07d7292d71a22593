"""Sources of the numbers of `sparing report`: a Prometheus for a time span, or a running server.

Both answer the same question: how much did a counter grow, summed by some of its labels?
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sparing.access import NO_ACCESS, Access
from sparing.client import fetch
from sparing.failure import Failure

Sums = Mapping[tuple[str, ...], float]
LIMIT_S = 30.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class ReportSource(Protocol):
    """Counters over one time span."""

    @property
    def span(self) -> str:
        """The time span in words."""

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        """Return the growth of a counter, by the values of these labels. Raises Failure."""


class ServerSource:
    """The counters of a server since its start. Raises Failure if it does not answer."""

    def __init__(self, url: str, access: Access = NO_ACCESS) -> None:
        text = fetch(url, "/metrics", access).decode()
        self._samples = [
            (name, dict(_LABEL.findall(labels)), float(value))
            for name, labels, value in _SAMPLE.findall(text)
        ]
        self.span = "since the server started"
        for name, _, value in self._samples:
            if name == "process_start_time_seconds":
                began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
                self.span = f"since the server started, {began}"

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        sums: dict[tuple[str, ...], float] = {}
        for name, of, value in self._samples:
            if name == counter:
                key = tuple(of.get(label, "") for label in labels)
                sums[key] = sums.get(key, 0.0) + value
        return sums


class PrometheusSource:
    """The counters that a Prometheus recorded over the last `since_s` seconds.

    Raises Failure if it does not answer or has no metrics of a Sparing server.
    """

    def __init__(self, url: str, since_s: int) -> None:
        self._url = url
        self.since_s = since_s
        self.span = f"the last {show_span(since_s)}"
        if not self.ask("count({__name__=~'sparing_rows_total'})"):
            raise Failure(f"{url} has no sparing_rows_total: does it scrape a Sparing server?")

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        query = f"sum by ({', '.join(labels)}) (increase({counter}[{self.since_s}s]))"
        return {
            tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1])
            for one in self.ask(query)
        }

    def time_series(
        self, query: str, points: int = 120
    ) -> dict[str, tuple[list[float], list[float]]]:
        """Return times (seconds since 1970) and values of about `points` samples, by route."""
        now, step_s = time.time(), max(1, self.since_s // points)
        asked = {"query": query, "start": now - self.since_s, "end": now, "step": step_s}
        found = self._ask("query_range", asked)
        return {
            one["metric"].get("route", ""): (
                [float(at) for at, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in found
        }

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return an instant vector. Raises Failure with the message of Prometheus."""
        return self._ask("query", {"query": query})

    def _ask(self, kind: str, asked: Mapping[str, object]) -> list[dict[str, Any]]:
        raw = _get(f"{self._url}/api/v1/{kind}?{urllib.parse.urlencode(asked)}")
        try:
            result: list[dict[str, Any]] = json.loads(raw)["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise Failure(f"{self._url} is not a Prometheus: it returned {raw[:80]!r}") from None
        return result


def read_span(text: str) -> int:
    """Parse `90m`, `24h` or `7d` into seconds. Raises Failure."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise Failure(f"--since {text}: allowed is a number with s, m, h or d, as in 24h", 2)
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def show_span(seconds: int) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0 and seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _get(url: str) -> bytes:
    """Fetch from a Prometheus, which gets no token."""
    if not url.startswith(("http://", "https://")):
        raise Failure(f"{url}: must begin with http:// or https://", 2)
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        raise Failure(f"{url} answered {error.code}: {error.read()[:200].decode()}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from None
