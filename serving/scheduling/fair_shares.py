"""Fair shares of the device's time: by caller, within a caller by route, within a route by call.

Start-time fair queueing (Goyal, Vin and Cheng, *Start-time Fair Queueing*, 1997) at each of these
levels. A share's spent time is the device seconds that its rows were charged with; the share with
the least is served first. A share that begins to wait is lifted to its level's virtual time, so
that it cannot save up time while idle. Virtual time is the spent time of the share in service, and
it drifts on with every second of the device: an endless stream of new callers cannot hold back the
existing ones forever. What a caller spent beyond the virtual time is kept while it has no rows, as
long as other callers have some.

Differences up to `SLACK_S` do not count: among such shares the row that is due first goes first, so
that under light load rows run in the order in which they are due.
"""

from typing import NamedTuple

SLACK_S = 0.02
TAGS_A_SECOND = 1 / SLACK_S
_DRIFT = 1 / 32  # of virtual time, for each second of the device
MAX_CALLERS = 1024  # kept; beyond that, the oldest callers without rows are forgotten


class Share:
    """A node of the tree of shares: the device (root), a caller, or a caller's route."""

    __slots__ = (
        "calls", "name", "now_s", "old_from", "parent", "shares", "spent_s", "turn", "waiting",
    )  # fmt: skip

    def __init__(self, name: str = "", parent: "Share | None" = None) -> None:
        self.name = name
        self.parent = parent
        self.shares: dict[str, Share] = {}  # children
        self.spent_s = 0.0
        self.now_s = 0.0  # virtual time of the children
        self.waiting = 0  # children with waiting rows; of a route: lanes
        self.calls = 0  # under way
        self.turn = 0  # of a route: batches with its rows
        self.old_from = 0.0  # no row of the route has waited for long before that time

    def wait(self) -> None:
        """Count one more child with waiting rows."""
        self.waiting += 1
        if self.waiting == 1 and self.parent is not None:
            self.spent_s = max(self.spent_s, self.parent.now_s)
            self.parent.wait()

    def rest(self) -> None:
        """Count one fewer child with waiting rows."""
        self.waiting -= 1
        if self.waiting == 0 and self.parent is not None:
            self.parent.rest()

    def rank(self) -> int:
        """Return the spent time of this route's caller, in units of `SLACK_S`."""
        spent_s = self.spent_s if self.parent is None else self.parent.spent_s
        return int(spent_s * TAGS_A_SECOND)

    def charge(self, seconds: float, start_s: float) -> None:
        """Charge a route for rows that go to the device; `start_s` is the first one's start."""
        self.turn += 1
        self.now_s = max(self.now_s, start_s) + seconds / max(self.calls, 1)
        share = self
        while (parent := share.parent) is not None:
            parent.now_s = max(parent.now_s, share.spent_s) + seconds * _DRIFT
            share.spent_s += seconds
            share = parent

    def correct(self, seconds: float) -> None:
        """Correct the charge by the difference between measured and charged time, in seconds."""
        share = self
        while (parent := share.parent) is not None:
            share.spent_s += seconds
            share = parent

    def turns(self) -> int:
        """Return how many shares of equal right wait for the device while this route waits once:
        its caller's routes, times the callers.
        """
        turns, share = 1, self
        while (parent := share.parent) is not None:
            turns *= max(1, parent.waiting)
            share = parent
        return turns

    def start_s(self) -> float:
        """Return the spent time that counts when the next row arrives."""
        if self.waiting or self.parent is None:
            return self.spent_s
        return max(self.spent_s, self.parent.now_s)


class Claim:
    """A call's position in the share of its caller's route: each row starts where the one before
    ends.
    """

    __slots__ = ("_end_s", "calls", "share")

    def __init__(self, share: Share, calls: int = 1) -> None:
        self.share = share
        self.calls = calls  # requests that share the claim
        self._end_s = 0.0

    def start(self, rows_s: float) -> float:
        """Return the start of the call's next rows, which cost `rows_s` together, in seconds."""
        start_s, now_s = self._end_s, self.share.now_s
        start_s = start_s if start_s > now_s else now_s
        self._end_s = start_s + rows_s
        return start_s

    def peek_start(self) -> int:
        """Return what `start` would, in units of `SLACK_S`, without adding rows."""
        return int(max(self._end_s, self.share.now_s) * TAGS_A_SECOND)


class Shares:
    """The callers of one device that have calls under way or have spent more than others."""

    def __init__(self) -> None:
        self.device = Share()

    def claim(self, caller: str, route: str, calls: int = 1) -> Claim:
        """Begin a call, or a group of so many; `release` must follow."""
        callers = self.device.shares
        of_caller = callers.get(caller)
        if of_caller is None:
            if len(callers) >= MAX_CALLERS:
                self._forget()
            of_caller = callers[caller] = Share(caller, self.device)
        share = of_caller.shares.get(route)
        if share is None:
            share = of_caller.shares[route] = Share(route, of_caller)
        share.calls += calls
        of_caller.calls += calls
        self.device.calls += calls
        return Claim(share, calls)

    def release(self, claim: Claim) -> None:
        """End a call."""
        device, share, of_caller = self.device, claim.share, claim.share.parent
        assert of_caller is not None
        share.calls -= claim.calls
        of_caller.calls -= claim.calls
        device.calls -= claim.calls
        if device.calls == 0 and device.waiting == 0:  # no caller has a debt
            for one in device.shares.values():
                one.shares.clear()  # these refer back to it
            device.shares.clear()
        elif _is_idle(of_caller) and of_caller.spent_s <= device.now_s:
            device.shares.pop(of_caller.name, None)
            of_caller.shares.clear()

    def _forget(self) -> None:
        """Forget idle callers: those without a debt, else the older half."""
        idle = [one for one in self.device.shares.values() if _is_idle(one)]
        clear = [one for one in idle if one.spent_s <= self.device.now_s]
        for one in clear or idle[: len(idle) // 2 + 1]:
            del self.device.shares[one.name]


class Charge(NamedTuple):
    """The share that pays for rows of a batch."""

    share: Share
    rows: int
    start_s: float  # of the first row


def _is_idle(share: Share) -> bool:
    return share.calls == 0 and share.waiting == 0
