"""Temperatures and thresholds of a net with exits, from held-out pictures alone.

Either the cheapest thresholds that lose at most a given accuracy against the last exit, or the
papers' own: entropy below T nats, uncalibrated (BranchyNet, arXiv 1709.01686).
"""

from collections.abc import Sequence

import numpy as np

from cascades.thresholds import Trace, make_grid, sum_over_grid
from core.classifiers.scores import SCORES, fit_temperature, log_softmax
from training.choosing.replay import Labels, Logits, Plan
from training.nets.lenet import entropy_threshold

SCORE = "entropy"
MAX_LOSS = 0.001  # of accuracy on held-out pictures, compared with the last exit for every row
OWN_ANSWER = "last"  # an exit's answer is its own, whatever earlier ones said


def choose_plan(
    exits: Sequence[Logits],
    labels: Labels,
    macs: Sequence[int],
    *,
    max_loss: float = MAX_LOSS,
    score: str = SCORE,
) -> Plan:
    """The thresholds with the fewest expected MACs whose accuracy is at most `max_loss` below the
    last exit's."""
    temperatures = tuple(fit_temperature(logits, labels) for logits in exits)
    trace = Trace(
        hits=np.stack([logits.argmax(axis=1) == labels for logits in exits]),
        scores=np.stack(
            [
                SCORES[score](np.exp(log_softmax(logits, temperature)))
                for logits, temperature in zip(exits[:-1], temperatures, strict=False)
            ]
        ),
        costs=tuple(float(one) for one in macs),
    )
    grid = make_grid(trace)
    sums = sum_over_grid(trace, grid)
    bound = float(trace.hits[-1].sum()) - max_loss * len(labels)
    cost = np.where(sums.hits >= bound - 1e-9, sums.cost, np.inf)
    place = np.unravel_index(int(cost.argmin()), cost.shape)
    thresholds = tuple(float(axis[index]) for axis, index in zip(grid, place, strict=False))
    return Plan(thresholds, temperatures, score, OWN_ANSWER)


def papers_plan(nats: Sequence[float], classes: int) -> Plan:
    """Exit where entropy is below these nats, one an exit, at temperature 1."""
    thresholds = tuple(entropy_threshold(one, classes) for one in nats)
    return Plan(thresholds, (1.0,) * (len(nats) + 1), "entropy", OWN_ANSWER)
