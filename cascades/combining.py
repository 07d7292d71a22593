"""Rules that combine the answers of several stages: pure functions of log-probabilities [N, K].

`post_check` is the rule of arXiv 2412.01039: the answer with the higher score wins, a tie goes to
the earlier stage. `last` is the paper's rule without post-check. `average` is the mean of the
log-probabilities of all stages that ran, renormalised. Serving and the selection of a cascade use
the same functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from core.classifiers.scores import Floats, Score, log_softmax


@dataclass(frozen=True, slots=True)
class CombinedAnswer:
    """The combined answer of the stages that ran so far, and what the next stage needs from it."""

    probabilities: Floats  # [N, K]
    scores: Floats  # [N]
    exits: npt.NDArray[np.int64]  # [N], the index of the stage whose answer it is
    evidence: Floats  # [N, K] log-probabilities: the answer's, or for `average` the sum over stages


Rule = Callable[[CombinedAnswer, CombinedAnswer, int, Score], CombinedAnswer]


def first_answer(log_probabilities: Floats, score: Score, index: int = 0) -> CombinedAnswer:
    """The answer of one stage by itself."""
    probabilities = np.exp(log_probabilities)
    exits = np.full(len(probabilities), index, dtype=np.int64)
    return CombinedAnswer(probabilities, score(probabilities), exits, log_probabilities)


def post_check(
    so_far: CombinedAnswer, new: CombinedAnswer, index: int, score: Score
) -> CombinedAnswer:
    """The higher score wins; a tie goes to the earlier stage."""
    wins = new.scores > so_far.scores
    column = wins[:, None]
    return CombinedAnswer(
        np.where(column, new.probabilities, so_far.probabilities),
        np.where(wins, new.scores, so_far.scores),
        np.where(wins, index, so_far.exits),
        np.where(column, new.evidence, so_far.evidence),
    )


def last(so_far: CombinedAnswer, new: CombinedAnswer, index: int, score: Score) -> CombinedAnswer:
    """The later stage's answer; earlier ones are ignored."""
    return new


def average(
    so_far: CombinedAnswer, new: CombinedAnswer, index: int, score: Score
) -> CombinedAnswer:
    """Mean of the log-probabilities of the `index` + 1 stages, renormalised."""
    total = so_far.evidence + new.evidence
    probabilities = np.exp(log_softmax(total / (index + 1)))
    return CombinedAnswer(probabilities, score(probabilities), new.exits, total)


RULES: Mapping[str, Rule] = MappingProxyType(
    {"post_check": post_check, "last": last, "average": average}
)
