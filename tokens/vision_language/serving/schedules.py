"""How many visual tokens a request pays for, as a schedule of drops.

A request gives `visual_tokens`, the mean number that a layer reads of each picture, or a schedule
of its own as `drop_layers` and `drop_shares`. In metrics a row's exit is the share of visual tokens
that its layers read, rounded up to tenths, or `text` for a prompt without pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.errors import InvalidInput
from tokens.pyramid_drop.flops import DecoderShape, decoder_macs
from tokens.pyramid_drop.schedule import Drop, Schedule, for_average_late

VISUAL_TOKENS = "visual_tokens"  # the request parameters
DROP_LAYERS, DROP_SHARES = "drop_layers", "drop_shares"
STEPS = 10
TEXT_EXIT = 0
EXITS = ("text", *(f"visual_{step / STEPS:.1f}" for step in range(1, STEPS + 1)))
FITTED_STEPS = 20
TYPICAL_TEXT = 24  # tokens beside the picture, where the cost of a schedule is predicted
NO_DROPS = Schedule()


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of one route."""

    decoder: DecoderShape
    tokens: int  # visual tokens of one picture
    choices: tuple[tuple[int, ...], ...]  # of layers before which `visual_tokens` drops; late first
    seeing_macs: int = 0  # of one picture in the vision part

    @property
    def least(self) -> float:
        """The lowest mean number of visual tokens that dropping before these layers reaches."""
        last = self.choices[-1]
        return self.tokens * (last[0] if last else self.decoder.layers) / self.decoder.layers

    def choose(self, controls: Mapping[str, Any]) -> Schedule:
        """Return the schedule that a request's controls name. Raises InvalidInput."""
        layers, shares = controls[DROP_LAYERS], controls[DROP_SHARES]
        if layers or shares:
            return self._read(layers, shares)
        average = float(controls[VISUAL_TOKENS])
        if average >= self.tokens:
            return NO_DROPS
        try:
            return _find(self.choices, self.decoder.layers, self.tokens, average)
        except ValueError as error:
            raise InvalidInput(f"parameters.{VISUAL_TOKENS}: {error}") from None

    def _read(self, layers: Sequence[int], shares: Sequence[float]) -> Schedule:
        if len(layers) != len(shares):
            raise InvalidInput(
                f"parameters.{DROP_SHARES}: given {len(shares)} shares for {len(layers)} layers in"
                f" {DROP_LAYERS}, allowed one for each"
            )
        drops = [
            Drop(int(layer), float(share)) for layer, share in zip(layers, shares, strict=True)
        ]
        schedule = Schedule(tuple(drops))
        try:
            schedule.check(self.decoder.layers)
        except ValueError as error:
            raise InvalidInput(f"parameters.{DROP_LAYERS}: {error}") from None
        return schedule

    def find_exit(self, schedule: Schedule, pictures: int) -> int:
        """Return the index in `EXITS` of a prompt with so many pictures."""
        if not pictures:
            return TEXT_EXIT
        layers = self.decoder.layers
        share = sum(schedule.shares(layers)) / layers
        return min(STEPS, max(1, math.ceil(share * STEPS - 1e-9)))

    def fit(self, share: float, default: float) -> float:
        """Return the largest `visual_tokens` up to the default whose prefill is predicted to cost
        at most `share` of the default's; the smallest if none does.
        """
        limit = share * self._predict_macs(default)
        least = min(self.least, default)
        for step in range(FITTED_STEPS, 0, -1):
            average = least + (default - least) * step / FITTED_STEPS
            if self._predict_macs(average) <= limit:
                return average
        return least

    def predict_share(self, average: float, default: float) -> float:
        """Return the predicted cost of a prefill with so many visual tokens, relative to that at
        the default.
        """
        return self._predict_macs(max(average, self.least)) / self._predict_macs(default)

    def _predict_macs(self, average: float) -> int:
        schedule = NO_DROPS
        if average < self.tokens:
            schedule = _find(self.choices, self.decoder.layers, self.tokens, average)
        reading = decoder_macs(self.decoder, self.tokens, TYPICAL_TEXT, schedule)
        return self.seeing_macs + reading


@lru_cache(1024)
def _find(
    choices: tuple[tuple[int, ...], ...], layers: int, tokens: int, average: float
) -> Schedule:
    return for_average_late(choices, layers, tokens, average)
