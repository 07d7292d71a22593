"""The ledger: splits the meter's joules into accounts and among rows.

Energy counters are too slow for short batches, so the joules of an interval are split by CPU time.
There are four accounts: `idle`, the machine's idle power; `others`, other processes; `overhead`,
this process outside its stages (endpoints, decoding, cache, event loop); `rows`, the stages. Their
sum always equals the meter. If several processes serve together, each has its own ledger, and one
of them also accounts for the machine.

Joules of rows that have not ended are pending, together with the device time that they stand for. A
row that ends is charged in proportion to its device time. So a row that spans many intervals, or
runs while the meter is read, is charged for all of its time, and no joule is lost or counted twice.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

ACCOUNTS = ("rows", "overhead", "others", "idle")
SIBLINGS = "siblings"  # other server processes, with their own ledgers
IDLE_WINDOW_S = 1.0  # averaging time of the machine's power before it counts as the lowest
RATE_HALF_LIFE_S = 2.0
MAX_DEBT_S = 0.1  # the kernel counts the machine's time in ticks of 10 ms, on each core

DeviceSeconds = Mapping[tuple[str, str], float]  # by route and exit


class Interval(NamedTuple):
    """Differences between two readings. CPU times are in core-seconds."""

    joules: float  # all components of the meter
    seconds: float
    busy_s: float  # all processes of the machine
    own_s: float  # this process
    device_s: float  # the part of `own_s` in stages
    siblings_s: float = 0.0  # the other server processes


class Ledger:
    """The accounts, which start at 0. All times and joules only grow."""

    def __init__(self, idle_w: float | None = None) -> None:
        """`idle_w` None: use the lowest mean power of a second so far."""
        self.accounts: dict[str, float] = dict.fromkeys((*ACCOUNTS, SIBLINGS), 0.0)
        self.rows: dict[tuple[str, str], float] = {}  # joules by route and exit
        self.unattributed_j = 0.0  # of routes that are no longer served
        self.joules = 0.0
        self.joules_per_s: float | None = None  # recent joules per second of device time
        self._idle_w = idle_w
        self._lowest_w = math.inf
        self._window_j = self._window_s = 0.0
        self._pending_j = self._pending_s = 0.0
        self._debt_s = 0.0  # by which the machine's CPU time lags behind this process'
        self._rate_j = self._rate_s = 0.0

    @property
    def pending_j(self) -> float:
        """Joules of rows that have not ended: `accounts["rows"]` less the sum of `rows`."""
        return self._pending_j

    def add(self, interval: Interval, spent: DeviceSeconds) -> None:
        """Add an interval, and the device seconds of the rows that ended in it."""
        joules = max(0.0, interval.joules)
        idle_j = min(joules, self._find_idle_w(joules, interval.seconds) * interval.seconds)
        own_s = max(interval.own_s, interval.device_s)
        others_s = self._find_others_s(interval.busy_s - own_s - interval.siblings_s)
        all_s = own_s + interval.siblings_s + others_s
        per_s = (joules - idle_j) / all_s if all_s > 0.0 else 0.0
        rows_j, overhead_j = per_s * interval.device_s, per_s * (own_s - interval.device_s)
        siblings_j = per_s * interval.siblings_s
        others_j = per_s * others_s
        parts = {"rows": rows_j, "overhead": overhead_j, "others": others_j, SIBLINGS: siblings_j}
        for account, part_j in parts.items():
            self.accounts[account] += part_j
        self.accounts["idle"] += max(0.0, joules - sum(parts.values()))
        self.joules += joules
        self._update_rate(rows_j, interval)
        self._pending_j += rows_j
        self._pending_s += interval.device_s
        self._charge_rows(spent)

    def remove_route(self, route: str) -> None:
        """Remove a route that is no longer served; its joules stay in the account `rows`."""
        for key in [key for key in self.rows if key[0] == route]:
            self.unattributed_j += self.rows.pop(key)

    def check_invariants(self) -> None:
        """Assert that no joule was lost or invented."""
        total_j = sum(self.accounts.values())
        assert math.isclose(total_j, self.joules, rel_tol=1e-9, abs_tol=1e-9), (
            f"the accounts hold {total_j} J, the meter counted {self.joules} J"
        )
        rows_j = sum(self.rows.values()) + self.unattributed_j + self._pending_j
        assert math.isclose(rows_j, self.accounts["rows"], rel_tol=1e-9, abs_tol=1e-9), (
            f"rows hold {rows_j} J, their account has {self.accounts['rows']} J"
        )
        assert all(part_j >= 0.0 for part_j in (*self.accounts.values(), *self.rows.values()))

    def _charge_rows(self, spent: DeviceSeconds) -> None:
        """Charge rows that ended their share of the pending joules."""
        ended_s = sum(spent.values())
        if ended_s <= 0.0:
            return
        share = min(1.0, ended_s / self._pending_s) if self._pending_s > 0.0 else 1.0
        paid_j = self._pending_j * share
        for key, device_s in spent.items():
            self.rows[key] = self.rows.get(key, 0.0) + paid_j * device_s / ended_s
        self._pending_j -= paid_j
        self._pending_s = max(0.0, self._pending_s - ended_s)

    def _find_others_s(self, over_s: float) -> float:
        """Return the core-seconds of other processes.

        The kernel counts the machine's time in ticks, which arrive late: what is missing now is
        subtracted from a later interval.
        """
        over_s += self._debt_s
        self._debt_s = max(-MAX_DEBT_S, min(0.0, over_s))
        return max(0.0, over_s)

    def _find_idle_w(self, joules: float, seconds: float) -> float:
        if self._idle_w is not None:
            return self._idle_w
        if joules <= 0.0:  # a counter that does not move says nothing about the machine
            self._window_j = self._window_s = 0.0
            return self._lowest_w if math.isfinite(self._lowest_w) else 0.0
        self._window_j += joules
        self._window_s += seconds
        if self._window_s >= IDLE_WINDOW_S:
            self._lowest_w = min(self._lowest_w, self._window_j / self._window_s)
            self._window_j = self._window_s = 0.0
        return self._lowest_w if math.isfinite(self._lowest_w) else joules / max(seconds, 1e-9)

    def _update_rate(self, rows_j: float, interval: Interval) -> None:
        weight = 0.5 ** (interval.seconds / RATE_HALF_LIFE_S)
        self._rate_j = self._rate_j * weight + rows_j
        self._rate_s = self._rate_s * weight + interval.device_s
        if self._rate_s > 1e-3:
            self.joules_per_s = self._rate_j / self._rate_s
