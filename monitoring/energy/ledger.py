"""The ledger: whose joules they were.

Short batches are invisible to energy counters, so an interval's joules are split by CPU time. Four
accounts take them all: `idle`, what the machine draws doing nothing; `others`, its other processes;
`overhead`, this process beside its stages (endpoints, decoding, cache, loop); `rows`, the stages.
The four sum to the meter, whatever happens. Where several processes serve together, each keeps a
ledger of its own, and one of them also accounts for the machine.

What rows get waits in a pot with the device time it stands for, until rows end: a row that ends
takes as many joules with it as its share of that time. So rows that take many intervals, or whose
batch runs while the meter is read, pay their whole way, and nothing is lost or counted twice.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

ACCOUNTS = ("rows", "overhead", "others", "idle")
SIBLINGS = "siblings"  # processes that serve with this one, and keep ledgers of their own
IDLE_WINDOW_S = 1.0  # for so long the machine's power is averaged before it is taken for the lowest
RATE_HALF_LIFE_S = 2.0
MAX_DEBT_S = 0.1  # the kernel counts the machine's time in ticks of 10 ms, on each core

DeviceSeconds = Mapping[tuple[str, str], float]  # by route and exit


class Interval(NamedTuple):
    """What was read, as differences to the reading before. CPU times are core-seconds."""

    joules: float  # of the whole meter
    seconds: float
    busy_s: float  # all processes of the machine
    own_s: float  # this one
    device_s: float  # of these: its stages
    siblings_s: float = 0.0  # processes that serve with it


class Ledger:
    """Counts from 0; all times and joules only grow."""

    def __init__(self, idle_w: float | None = None) -> None:
        """`idle_w` None: the lowest power seen, a second long, is taken for it."""
        self.accounts: dict[str, float] = dict.fromkeys((*ACCOUNTS, SIBLINGS), 0.0)
        self.rows: dict[tuple[str, str], float] = {}  # joules by route and exit
        self.unattributed_j = 0.0  # of routes that are served no more
        self.joules = 0.0
        self.joules_per_s: float | None = None  # of device time, lately
        self._idle_w = idle_w
        self._lowest_w = math.inf
        self._window_j = self._window_s = 0.0
        self._pending_j = self._pending_s = 0.0
        self._debt_s = 0.0  # by which the machine's time lags behind ours
        self._rate_j = self._rate_s = 0.0

    @property
    def pending_j(self) -> float:
        """Joules of rows that have not ended: `accounts["rows"]` less the sum of `rows`."""
        return self._pending_j

    def add(self, interval: Interval, spent: DeviceSeconds) -> None:
        """One interval, and the device seconds of the rows that ended in it."""
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
        """It is served no more: its joules stay in the account, under no name."""
        for key in [key for key in self.rows if key[0] == route]:
            self.unattributed_j += self.rows.pop(key)

    def check_invariants(self) -> None:
        """Assert that nothing was lost or made up."""
        total_j = sum(self.accounts.values())
        assert math.isclose(total_j, self.joules, rel_tol=1e-9, abs_tol=1e-9), (
            f"the accounts hold {total_j} J, the meter gave {self.joules} J"
        )
        rows_j = sum(self.rows.values()) + self.unattributed_j + self._pending_j
        assert math.isclose(rows_j, self.accounts["rows"], rel_tol=1e-9, abs_tol=1e-9), (
            f"rows hold {rows_j} J, their account has {self.accounts['rows']} J"
        )
        assert all(part_j >= 0.0 for part_j in (*self.accounts.values(), *self.rows.values()))

    def _charge_rows(self, spent: DeviceSeconds) -> None:
        """Rows that ended take their share out of the pot."""
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
        """Core-seconds of other processes. Where the machine's time comes in late, by ticks, what
        is missing now is made up for by what comes too much later.
        """
        over_s += self._debt_s
        self._debt_s = max(-MAX_DEBT_S, min(0.0, over_s))
        return max(0.0, over_s)

    def _find_idle_w(self, joules: float, seconds: float) -> float:
        if self._idle_w is not None:
            return self._idle_w
        if joules <= 0.0:  # a counter that stands still tells nothing of the machine
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
