"""What a net with learners costs for the choices that were made, in multiply-accumulates.

Counted from the choices: each module's gate runs for every token, each chosen learner for its
token. What does not depend on a choice (stem, attention, head, dense layers) is one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ModuleCost:
    """The cost of one module for one token."""

    gate: int
    learner: int  # of one learner, over all layers that share the gate
    learners: int  # N


@dataclass(frozen=True, slots=True)
class NetCost:
    """The cost of a picture. `tokens` pass through every module."""

    fixed: int
    tokens: int
    modules: tuple[ModuleCost, ...]

    @property
    def most(self) -> int:
        """With every learner for every token."""
        each = sum(one.gate + one.learner * one.learners for one in self.modules)
        return self.fixed + self.tokens * each

    def count(self, chosen: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        """Each picture's MACs [B] for each module's choices [B, T]."""
        return self.count_sums(np.stack([one.sum(axis=1) for one in chosen], axis=1))

    def count_sums(self, sums_BM: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same for the executed learners of all its tokens, in each of M modules [B, M]."""
        gates = self.tokens * sum(module.gate for module in self.modules)
        learners = np.array([module.learner for module in self.modules], np.int64)
        macs: npt.NDArray[np.int64] = (sums_BM * learners).sum(axis=1)
        return self.fixed + gates + macs


def replaced_width(hidden: int, learners: int) -> int:
    """Hidden units of an MLP's learner, so that all learners cost what the MLP did."""
    return max(1, round(hidden / learners))


def replaced_rank(inputs: int, outputs: int, learners: int) -> int:
    """Hidden units of a projection's learner: all learners have the projection's parameters."""
    own = inputs * outputs + outputs
    return max(1, round(own / (inputs + outputs + 1) / learners))
