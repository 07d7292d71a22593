"""Shadow audit: some hits are computed all the same, and enough wrong ones switch a tier off.

Which hits, is drawn from a seeded generator: all of the first, then ever fewer, down to a steady
rate. What is known of the rate of wrong hits is a test by betting (Waudby-Smith and Ramdas,
*Estimating means of bounded random variables by betting*, arXiv 2010.09686): somebody stakes a
fixed share of his wealth on "wrong" at every audited hit, at odds that are fair when one hit in
1/limit is wrong. Where the true rate is at most the limit, his wealth is a nonnegative
supermartingale, so it ever reaches 1/delta with a probability of at most delta (Ville's
inequality), no matter how often one looks. Several shares are bet at once, and their mean counts.

Knows nothing of pictures or caches; who is switched off is left to the owner.
"""

import math
import random
from collections.abc import Sequence

SHARES: Sequence[float] = (1 / 4, 1 / 16, 1 / 64, 1 / 256)
_PRECISION = 40  # halvings of [0, 1] when a bound is looked for


class Audit:
    """Draws what is audited, and remembers what came of it. On until it was ever shown wrong."""

    __slots__ = (
        "_burn_in", "_delta", "_draws", "_max_wrong", "_random", "_rate", "audits", "on", "wrong",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rate: float,  # of hits, in the long run
        burn_in: int,  # so many hits are all audited, of the n-th after them `burn_in / n`
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
        """What became of an audited hit; true when it is this one that switches the tier off."""
        self.audits += 1
        if not wrong:
            return False  # it can only have lost the bets
        self.wrong += 1
        if not self.on or wealth(self.audits, self.wrong, self._max_wrong) < 1 / self._delta:
            return False
        self.on = False
        return True

    def lower_bound(self) -> float:
        """The rate of wrong hits is at least this, always, with confidence 1 - delta."""
        return lower_bound(self.audits, self.wrong, self._delta)


def wealth(audits: int, wrong: int, rate: float) -> float:
    """What a stake of 1 has become at odds that are fair for this rate of wrong hits."""
    logs = [
        (audits - wrong) * math.log1p(-share) + wrong * math.log1p(share / rate - share)
        for share in SHARES
    ]
    highest = max(logs)
    mean = sum(math.exp(one - highest) for one in logs) / len(logs)
    log = highest + math.log(mean)
    return math.exp(log) if log < 700 else math.inf


def lower_bound(audits: int, wrong: int, delta: float) -> float:
    """The smallest rate at which the wealth is still under 1 / delta: wealth falls as it rises."""
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
