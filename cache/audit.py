"""Shadow audit: some cache hits are also computed, and enough wrong hits switch the cache off.

A seeded generator selects the hits: all of the first ones, then fewer and fewer, down to a steady
rate. The rate of wrong hits is tested by betting (Waudby-Smith and Ramdas, *Estimating means of
bounded random variables by betting*, arXiv 2010.09686): a fixed share of the wealth is bet on
"wrong" at every audited hit, at odds that are fair when one hit in 1/limit is wrong. If the true
rate is at most the limit, the wealth is a nonnegative supermartingale. So it ever reaches 1/delta
with a probability of at most delta (Ville's inequality), however often it is checked. Several
shares are bet at once, and their mean counts.
"""

import math
import random
from collections.abc import Sequence

SHARES: Sequence[float] = (1 / 4, 1 / 16, 1 / 64, 1 / 256)
_PRECISION = 40  # halvings of [0, 1] when a bound is looked for


class Audit:
    """Selects hits to audit and counts the results. On until the limit is proven exceeded."""

    __slots__ = (
        "_burn_in", "_delta", "_draws", "_max_wrong", "_random", "_rate", "audits", "on", "wrong",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rate: float,  # of hits, in the long run
        burn_in: int,  # audit all of the first hits; then the n-th at rate `burn_in / n`
        seed: int,
        max_wrong: float,  # the rate of wrong hits that is allowed
        delta: float,  # the probability that a tier within its limit is ever switched off
    ) -> None:
        self._rate = rate
        self._burn_in = burn_in
        self._random = random.Random(seed)
        self._max_wrong = max_wrong
        self._delta = delta
        self._draws = 0
        self.audits = 0
        self.wrong = 0
        self.on = True

    def draw(self) -> bool:
        """Whether this hit is to be audited."""
        self._draws += 1
        return self._random.random() < max(self._rate, self._burn_in / self._draws)

    def record(self, *, wrong: bool) -> bool:
        """Record the result of an audited hit; true if this one switches the cache off."""
        self.audits += 1
        if not wrong:
            return False  # a correct hit only loses the bets
        self.wrong += 1
        if not self.on or wealth(self.audits, self.wrong, self._max_wrong) < 1 / self._delta:
            return False
        self.on = False
        return True

    def lower_bound(self) -> float:
        """A lower bound of the rate of wrong hits, at any time, with confidence 1 - delta."""
        return lower_bound(self.audits, self.wrong, self._delta)


def wealth(audits: int, wrong: int, rate: float) -> float:
    """The wealth after betting from 1, at odds that are fair for this rate of wrong hits."""
    logs = [
        (audits - wrong) * math.log1p(-share) + wrong * math.log1p(share / rate - share)
        for share in SHARES
    ]
    highest = max(logs)
    mean = sum(math.exp(one - highest) for one in logs) / len(logs)
    log = highest + math.log(mean)
    return math.exp(log) if log < 700 else math.inf


def lower_bound(audits: int, wrong: int, delta: float) -> float:
    """The lowest rate at which the wealth is under 1 / delta; wealth falls with the rate."""
    if wrong == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_PRECISION):
        middle = (low + high) / 2
        if wealth(audits, wrong, middle) < 1 / delta:
            high = middle
        else:
            low = middle
    return low
