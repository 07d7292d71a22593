"""Before which layers of a decoder visual tokens are dropped, and how many are kept.

After PyramidDrop (arXiv 2410.17247): S stages of equal depth, each keeps a share λ of what the
stage before it kept. Shares are of the original number of visual tokens, counts are rounded down,
as in the released code. FastV (arXiv 2403.06764) is a schedule with one drop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 1e-9
LEAST_RATIO = 0.25  # of a drop at late layers, if there are earlier ones to choose from


@dataclass(frozen=True, slots=True)
class Drop:
    """Before `layer`, counted from 0, all but `share` of a prompt's visual tokens are dropped."""

    layer: int
    share: float  # of the original tokens, in [0, 1]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Drops in the order of their layers; without any, the model runs untouched."""

    drops: tuple[Drop, ...] = ()

    def check(self, layers: int) -> None:
        """Raise ValueError in one sentence for a schedule that a decoder of `layers` cannot run."""
        last, share = 0, 1.0
        for drop in self.drops:
            if not last < drop.layer < layers:
                raise ValueError(
                    f"layer {drop.layer} is not possible, layers must increase, from 1 to "
                    f"{layers - 1} for this model"
                )
            if not 0 <= drop.share <= share:
                raise ValueError(
                    f"share {drop.share:g} before layer {drop.layer} is not possible, shares must "
                    "be from 0 to 1 and must not increase"
                )
            last, share = drop.layer, drop.share

    def at(self, layer: int) -> Drop | None:
        """The drop before this layer, if there is one."""
        return next((drop for drop in self.drops if drop.layer == layer), None)

    def shares(self, layers: int) -> tuple[float, ...]:
        """The share of a prompt's visual tokens that each layer reads."""
        share, found = 1.0, []
        for layer in range(layers):
            drop = self.at(layer)
            share = share if drop is None else drop.share
            found.append(share)
        return tuple(found)

    def counts(self, tokens: int, layers: int) -> tuple[int, ...]:
        """The visual tokens that each layer reads, of `tokens` in the prompt."""
        return tuple(keep_count(tokens, share) for share in self.shares(layers))

    def average(self, tokens: int, layers: int) -> float:
        """The mean number of visual tokens that a layer reads."""
        return sum(self.counts(tokens, layers)) / layers


def keep_count(tokens: int, share: float) -> int:
    """How many of `tokens` a drop keeps."""
    return int(tokens * share)


def pyramid(layers: int, *, ratio: float, stages: int = 4) -> Schedule:
    """The paper's schedule: `stages` of equal depth, each with `ratio` of the tokens before it."""
    if not 1 <= stages <= layers:
        raise ValueError(f"{stages} stages; 1 to {layers} are possible with {layers} layers")
    return geometric([layers * stage // stages for stage in range(1, stages)], ratio)


def geometric(at: Sequence[int], ratio: float) -> Schedule:
    """Drops before the layers `at`; each keeps `ratio` of what the one before it kept."""
    return Schedule(tuple(Drop(layer, ratio ** (place + 1)) for place, layer in enumerate(at)))


def fast_v(*, layer: int = 2, share: float = 0.5) -> Schedule:
    """FastV's schedule: one drop, early."""
    return Schedule((Drop(layer, share),))


def for_average(at: Sequence[int], layers: int, tokens: int, average: float) -> Schedule:
    """The drops before the layers `at` whose ratio makes a layer read `average` visual tokens.

    Counts are treated as real numbers. Raises ValueError when even dropping everything leaves
    more, or nothing needs to be dropped.
    """
    least = mean_tokens(at, layers, tokens, 0.0)
    if not least <= average <= tokens:
        raise ValueError(
            f"{average:g} visual tokens on average; {least:g} to {tokens} are possible with drops "
            f"before layers {list(at)}"
        )
    low, high = 0.0, 1.0
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        if mean_tokens(at, layers, tokens, middle) < average:
            low = middle
        else:
            high = middle
    return geometric(at, high)


def mean_tokens(at: Sequence[int], layers: int, tokens: int, ratio: float) -> float:
    """How many visual tokens a layer reads on average, if each drop before `at` keeps `ratio`."""
    edges = [*at, layers]
    depths = [end - start for start, end in zip([0, *at], edges, strict=True)]
    return tokens * sum(depth * ratio**stage for stage, depth in enumerate(depths)) / layers


def for_average_late(
    choices: Sequence[Sequence[int]], layers: int, tokens: int, average: float
) -> Schedule:
    """`for_average` at the first choice of layers where each drop keeps at least `LEAST_RATIO`; at
    the last choice where none does. Late layers come first: they know the question better.
    """
    *late, last = choices
    fits = (at for at in late if average >= mean_tokens(at, layers, tokens, LEAST_RATIO))
    return for_average(next(fits, last), layers, tokens, average)
