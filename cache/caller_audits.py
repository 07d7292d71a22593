"""An audit for each caller, so that one caller's hits prove nothing about another's.

A caller that sends many easy pictures cannot make the hits of others look correct. A caller that
sends pictures made to get wrong answers switches the cache off only for itself. The number of
callers is bounded: the most recent ones are kept, and any other is audited in full again.
"""

from collections import OrderedDict
from collections.abc import Callable

from cache.audit import Audit

MAX_CALLERS = 256


class CallerAudits:
    """The audits of one version of a route; `make` creates a caller's audit."""

    def __init__(self, make: Callable[[], Audit]) -> None:
        self._make = make
        self._audits: OrderedDict[str, Audit] = OrderedDict()
        self.audits = 0  # of all callers, since the start
        self.wrong = 0
        self.off = 0  # callers for which the cache was switched off

    def of(self, caller: str) -> Audit:
        audit = self._audits.get(caller)
        if audit is None:
            if len(self._audits) >= MAX_CALLERS:
                self._audits.popitem(last=False)
            audit = self._audits[caller] = self._make()
        else:
            self._audits.move_to_end(caller)
        return audit

    def record(self, caller: str, *, wrong: bool) -> bool:
        """Record the result of an audited hit; true if it switches the cache off for its caller."""
        self.audits += 1
        self.wrong += wrong
        switched = self.of(caller).record(wrong=wrong)
        self.off += switched
        return switched

    def lower_bound(self) -> float:
        """The highest lower bound of the rate of wrong hits over all callers."""
        return max([audit.lower_bound() for audit in self._audits.values()], default=0.0)
