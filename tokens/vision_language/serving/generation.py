"""One row's answer while it grows: its tokens, its text, its keys and values, and why it ended."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tokens.pyramid_drop.schedule import Schedule
from tokens.vision_language.serving.backbone import Prompt, Words
from tokens.vision_language.serving.row_cache import RowCache
from tokens.vision_language.serving.sampling import (
    Logits,
    Sampling,
    choose,
    cut_at_stop,
    hold_back,
)

MAX_TOKENS, TEMPERATURE, TOP_P, SEED, STOP = "max_tokens", "temperature", "top_p", "seed", "stop"

Finish = Literal["", "stop", "length"]  # empty: more tokens may come


class Asked(NamedTuple):
    """What a row asks for."""

    prompt: Prompt
    schedule: Schedule
    exit: int  # the index of its exit
    max_tokens: int
    sampling: Sampling
    stops: Sequence[str]

    @property
    def room(self) -> int:
        """The tokens that are fed after the prompt, at most: all of the answer but the last."""
        return self.max_tokens - 1


def read_sampling(controls: Mapping[str, Any]) -> Sampling:
    return Sampling(float(controls[TEMPERATURE]), float(controls[TOP_P]), int(controls[SEED]))


class Generation:
    """A row's state. Without a finish, another token follows."""

    __slots__ = (
        "asked", "cache", "chosen", "failed", "finish", "ids", "kept_L", "log_probability", "text",
    )  # fmt: skip

    def __init__(self, asked: Asked, cache: RowCache, kept_L: npt.NDArray[np.int64]) -> None:
        self.asked = asked
        self.cache = cache
        self.kept_L = kept_L  # visual tokens that each layer read
        self.ids: list[int] = []  # without the end
        self.log_probability = 0.0
        self.chosen = 0  # tokens, the end included
        self.text = ""  # what no stop string can change any more
        self.finish: Finish = ""
        self.failed = False

    def take(self, logits_V: Logits, vocabulary: Words) -> None:
        """Choose the next token. Logits that are not finite fail the row."""
        if not np.isfinite(logits_V).all():
            self.failed = True
            return
        token, log_probability = choose(logits_V, self.asked.sampling, len(self.ids))
        self.log_probability += log_probability
        self.chosen += 1
        if token in vocabulary.ends:
            self._end("stop", vocabulary.decode(self.ids))
            return
        self.ids.append(token)
        text = vocabulary.decode(self.ids)
        cut = cut_at_stop(text, self.asked.stops) if self.asked.stops else None
        if cut is not None:
            self._end("stop", cut)
        elif len(self.ids) >= self.asked.max_tokens:
            self._end("length", text)
        else:
            self.text = hold_back(text, self.asked.stops)

    def _end(self, finish: Finish, text: str) -> None:
        self.finish, self.text = finish, text

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of what was chosen, an end included."""
        if self.failed:
            return 0.0
        return min(1.0, math.exp(self.log_probability / max(1, self.chosen)))
