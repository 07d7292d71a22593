"""Which pictures are easy: an exit is certain of them and, if required, right.

CBNet (arXiv 2403.07036) calls a picture easy if it leaves BranchyNet at exit 1, whether it is right
there or not; its released code has the entropies.
"""

import math

import numpy as np
import numpy.typing as npt

from core.classifiers.scores import entropy, softmax

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_]


def entropy_nats(logits: Logits) -> npt.NDArray[np.float64]:
    """The entropy [N] of each row's probabilities in nats, the unit of the papers' thresholds."""
    spread: npt.NDArray[np.float64] = (1.0 - entropy(softmax(logits))) * math.log(logits.shape[1])
    return spread


def find_easy(logits: Logits, labels: Labels, max_nats: float, *, must_be_right: bool) -> Rows:
    """Rows [N] whose answer's entropy is below `max_nats` and, with `must_be_right`, whose answer
    is the label.
    """
    easy: Rows = entropy_nats(logits) < max_nats
    return easy & (logits.argmax(axis=1) == labels) if must_be_right else easy
