"""Where `sparing report` has its numbers from: a Prometheus for a time, or a server since it began.

Both are asked the same: the growth of a counter, added up by some of its labels.
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

from sparing.failure import Failure

Sums = Mapping[tuple[str, ...], float]
LIMIT_S = 30.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class ReportSource(Protocol):
    """Numbers of one time."""

    @property
    def span(self) -> str:
        """Which time, in words."""

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        """By how much a counter grew, by the values of these labels."""


class ServerSource:
    """A server's own counts since it began. Raises Failure when it does not answer."""

    def __init__(self, url: str, token: str = "") -> None:
        text = _get(f"{url}/metrics", token).decode()
        self._samples = [
            (name, dict(_LABEL.findall(labels)), float(value))
            for name, labels, value in _SAMPLE.findall(text)
        ]
        self.span = "since the server began"
        for name, _, value in self._samples:
            if name == "process_start_time_seconds":
                began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
                self.span = f"since the server began, {began}"

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        sums: dict[tuple[str, ...], float] = {}
        for name, of, value in self._samples:
            if name == counter:
                key = tuple(of.get(label, "") for label in labels)
                sums[key] = sums.get(key, 0.0) + value
        return sums


class PrometheusSource:
    """What a Prometheus recorded over the last `since_s` seconds."""

    def __init__(self, url: str, since_s: int) -> None:
        self._url = url
        self._since_s = since_s
        self.span = f"the last {show_span(since_s)}"
        if not self.ask("count({__name__=~'sparing_rows_total'})"):
            raise Failure(f"{url} has no sparing_rows_total: does it scrape a Sparing server?")

    def grown(self, counter: str, labels: Sequence[str]) -> Sums:
        query = f"sum by ({', '.join(labels)}) (increase({counter}[{self._since_s}s]))"
        return {
            tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1])
            for one in self.ask(query)
        }

    def time_series(
        self, query: str, points: int = 120
    ) -> dict[str, tuple[list[float], list[float]]]:
        """Times and values by route."""
        now, step_s = time.time(), max(15, self._since_s // points)
        asked = {"query": query, "start": now - self._since_s, "end": now, "step": step_s}
        found = self._ask("query_range", asked)
        return {
            one["metric"].get("route", ""): (
                [float(at) for at, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in found
        }

    def ask(self, query: str) -> list[dict[str, Any]]:
        """An instant vector. Raises Failure with Prometheus' own words."""
        return self._ask("query", {"query": query})

    def _ask(self, kind: str, asked: Mapping[str, object]) -> list[dict[str, Any]]:
        raw = _get(f"{self._url}/api/v1/{kind}?{urllib.parse.urlencode(asked)}")
        try:
            result: list[dict[str, Any]] = json.loads(raw)["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise Failure(f"{self._url} is no Prometheus: it answered {raw[:80]!r}") from None
        return result


def read_span(text: str) -> int:
    """Seconds of `90m`, `24h` or `7d`. Raises Failure."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise Failure(f"--since {text}: a number with s, m, h or d is allowed, as in 24h", 2)
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def show_span(seconds: int) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0 and seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _get(url: str, token: str = "") -> bytes:
    if not url.startswith(("http://", "https://")):
        raise Failure(f"{url}: an address with http:// or https:// is expected", 2)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        raise Failure(f"{url} answered {error.code}: {error.read()[:200].decode()}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from None
