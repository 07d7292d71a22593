"""Evidence by caller: an audit of each caller's hits, so that no caller's hits prove anything about
another's.

A caller who sends many easy pictures cannot make the hits of others look right, nor be spared
audits for them; one who sends pictures made to be answered wrongly switches the tier off for itself
alone. Bounded: the callers who asked last are remembered, and one that has been forgotten, or was
never seen, is audited in full again.
"""

from collections import OrderedDict
from collections.abc import Callable

from cache.audit import Audit

MAX_CALLERS = 256


class CallerAudits:
    """One for each version of a route; `make` gives a caller's audit."""

    def __init__(self, make: Callable[[], Audit]) -> None:
        self._make = make
        self._audits: OrderedDict[str, Audit] = OrderedDict()
        self.audits = 0  # of all callers, since the start
        self.wrong = 0
        self.off = 0  # callers for whom it was switched off

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
        """What became of an audited hit; true when it switches the tier off for its caller."""
        self.audits += 1
        self.wrong += wrong
        switched = self.of(caller).record(wrong=wrong)
        self.off += switched
        return switched

    def lower_bound(self) -> float:
        """The highest rate of wrong hits that is proven for any caller."""
        return max([audit.lower_bound() for audit in self._audits.values()], default=0.0)
