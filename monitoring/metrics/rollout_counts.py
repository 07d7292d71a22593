"""Counts of a rollout: what callers of the stable version and of the canary got.

Only requests for the bare name count, whose version the rollout chose. Rows from a cache count in
no histogram: the caches know more answers of the older version, and would hide the models' own
difference. Rows that were answered together are one observation.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from core.messages import RowAnswers
from monitoring.metrics.counts import SECONDS, Histogram
from monitoring.metrics.snapshot import Family

PREFIX = "sparing_rollout_"
SHARE = f"{PREFIX}share"
JOULES = tuple(scale * 10.0**power for power in range(-6, 3) for scale in (1, 2, 5))


class RoleCounts:
    """What one version answered in its role."""

    __slots__ = ("joules", "latency", "macs", "requests", "rows")

    def __init__(self) -> None:
        self.requests: dict[str, int] = {"ok": 0}  # by "ok" or the error's class name
        self.latency = Histogram(SECONDS)
        self.joules = Histogram(JOULES)  # of a row
        self.macs = 0
        self.rows = 0  # computed ones

    def count_request(self, result: str) -> None:
        self.requests[result] = self.requests.get(result, 0) + 1

    def count_rows(self, part: RowAnswers) -> None:
        """Count the answers of rows that ended together; answers of a cache do not count."""
        if part.cached:
            return
        rows = len(part.at)
        self.rows += rows
        self.macs += part.macs * rows if isinstance(part.macs, int) else int(part.macs.sum())
        self.latency.counts[bisect_left(SECONDS, part.latency_s)] += 1
        self.latency.total += part.latency_s
        energy_mj = part.energy_mj
        if energy_mj is None:
            return
        row_mj = energy_mj if isinstance(energy_mj, float | int) else float(energy_mj.mean())
        if not math.isnan(row_mj):  # not NaN: the meter has said something
            self.joules.observe(row_mj / 1e3)


class RolloutState(NamedTuple):
    """One route's rollout at the time of a scrape."""

    route: str
    share: float
    roles: Mapping[str, tuple[str, RoleCounts]]  # role to version and counts


def make_families(rollouts: Iterable[RolloutState]) -> list[Family]:
    """Return the families of all rollouts; none where there is no rollout."""
    states = list(rollouts)
    if not states:
        return []
    labels = ("route", "role")
    share = Family(SHARE, "gauge", "Share of callers that get the canary.", ("route",))
    info = Family(
        "sparing_rollout_info", "gauge", "Always 1; the version of each role.", (*labels, "version")
    )
    requests = Family(
        "sparing_rollout_requests",
        "counter",
        "Requests whose version the rollout chose, by result.",
        (*labels, "result"),
    )
    rows = Family("sparing_rollout_rows", "counter", "Rows computed for these requests.", labels)
    macs = Family(
        "sparing_rollout_macs", "counter", "Multiply-accumulate operations of these rows.", labels
    )
    latency = Family(
        "sparing_rollout_latency_seconds",
        "histogram",
        "Time from arrival to answer of these rows; rows answered together count once.",
        labels,
    )
    joules = Family(
        "sparing_rollout_row_joules",
        "histogram",
        "Estimated joules of such a row; rows answered together count once.",
        labels,
    )
    for state in states:
        share.add((state.route,), state.share)
        for role, (version, counts) in state.roles.items():
            key = (state.route, role)
            info.add((*key, version), 1.0)
            for result, count in counts.requests.copy().items():
                requests.add((*key, result), count)
            rows.add(key, counts.rows)
            macs.add(key, counts.macs)
            latency.add_histogram(key, counts.latency)
            joules.add_histogram(key, counts.joules)
    return [share, info, requests, rows, macs, latency, joules]
