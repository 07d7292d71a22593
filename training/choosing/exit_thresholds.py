"""When a row may leave: temperatures and thresholds of a net with exits, from held-out pictures.

Either the cheapest thresholds that lose at most so much accuracy against the last exit, or the
papers' own: entropy under T nats, uncalibrated (BranchyNet, arXiv 1709.01686). The test set has no
part in it.
"""

from collections.abc import Sequence

import numpy as np

from cascades.thresholds import Trace, make_grid, tally
from core.scores import SCORES, fit_temperature, log_softmax
from training.choosing.replay import Labels, Logits, Plan
from training.nets.lenet import entropy_threshold

SCORE = "entropy"
MAX_LOSS = 0.001  # of accuracy on held-out pictures, against every row's going to the end
OWN_ANSWER = "last"  # an exit's answer is its own, whatever earlier ones said


def choose_plan(
    exits: Sequence[Logits],
    labels: Labels,
    macs: Sequence[int],
    *,
    max_loss: float = MAX_LOSS,
    score: str = SCORE,
) -> Plan:
    """The fewest expected MACs at which accuracy is at most `max_loss` under the last exit's."""
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
    sums = tally(trace, grid)
    bound = float(trace.hits[-1].sum()) - max_loss * len(labels)
    cost = np.where(sums.hits >= bound - 1e-9, sums.cost, np.inf)
    place = np.unravel_index(int(cost.argmin()), cost.shape)
    thresholds = tuple(float(axis[index]) for axis, index in zip(grid, place, strict=False))
    return Plan(thresholds, temperatures, score, OWN_ANSWER)


def papers_plan(nats: Sequence[float], classes: int) -> Plan:
    """Exit where entropy is under so many nats, one an exit, softmax as it is."""
    thresholds = tuple(entropy_threshold(one, classes) for one in nats)
    return Plan(thresholds, (1.0,) * (len(nats) + 1), "entropy", OWN_ANSWER)
