"""The next token from a row's logits, and where an answer's text stops.

A row's choice depends on its own logits, its seed and the number of tokens before, never on the
batch. V: words of the vocabulary.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
_SEED_MASK = 2**64 - 1


class Sampling(NamedTuple):
    """How a row's tokens are chosen."""

    temperature: float  # 0: the most probable token
    top_p: float  # the share of probability from which a token is drawn, the most probable first
    seed: int


def choose(logits_V: Logits, how: Sampling, step: int) -> tuple[int, float]:
    """Return a token and the logarithm of its probability at temperature 1. Logits are finite."""
    best = int(logits_V.argmax())
    shifted = logits_V - logits_V[best]
    log_total = math.log(float(np.exp(shifted).sum(dtype=np.float64)))
    token = _draw(shifted, how, step) if how.temperature > 0 else best
    return token, float(shifted[token]) - log_total


def _draw(shifted: Logits, how: Sampling, step: int) -> int:
    weights = np.exp(shifted.astype(np.float64) / how.temperature)
    total = float(weights.sum())
    # All tokens that are less probable than this have less than 1 - top_p together.
    likely = np.flatnonzero(weights >= (1.0 - how.top_p) * total / len(weights))
    order = likely[np.argsort(-weights[likely], kind="stable")] if how.top_p < 1.0 else likely
    sums = np.cumsum(weights[order])
    kept = min(int(np.searchsorted(sums, how.top_p * total)) + 1, len(order))
    random = np.random.default_rng([how.seed & _SEED_MASK, step])
    place = int(np.searchsorted(sums[:kept], random.random() * sums[kept - 1], side="right"))
    return int(order[min(place, kept - 1)])


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the first of the stop strings; None if it has none of them."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def hold_back(text: str, stops: Sequence[str]) -> str:
    """Return the text without its end, as far as a stop string may begin there."""
    held = max(
        (size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])),
        default=0,
    )
    return text[: len(text) - held]
