"""What a row takes, by its budget and the rows in its batch, from times measured at the export."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RowTimes:
    """CPU time of a row [2, B, R] in µs: masked, then sorted; by budget, by rows in the batch."""

    beta_B: Column
    rows_R: Column
    us_FBR: npt.NDArray[np.float64]

    def predict_us(self, beta: float, rows: int, is_sorted: bool) -> float:
        """Linear between measured budgets and numbers of rows; beyond, the nearest one's."""
        return _predict_us(self, beta, rows, is_sorted)


@lru_cache(4096)  # a request with a limit asks for many budgets
def _predict_us(times: RowTimes, beta: float, rows: int, is_sorted: bool) -> float:
    by_beta = times.us_FBR[int(is_sorted)]
    at_rows = [np.interp(rows, times.rows_R, times_R) for times_R in by_beta]
    return float(np.interp(beta, times.beta_B, at_rows))


def read_times(table: Sequence[Sequence[float]]) -> RowTimes:
    """From rows of `[beta, rows, masked_us, sorted_us]` in any order, one for each pair of a budget
    and a number of rows. Noise is removed: masked tokens take as long at any budget, sorted ones
    no longer at a smaller one. Raises ValueError in one sentence for another table.
    """
    if not all(len(line) == 4 and min(line[1:]) > 0 for line in table):
        raise ValueError("each line needs [beta, rows, masked_us, sorted_us], the last three > 0")
    found = {(line[0], line[1]): line[2:] for line in table}
    betas = sorted({beta for beta, _ in found})
    counts = sorted({rows for _, rows in found})
    if not len(found) == len(table) == len(betas) * len(counts):
        raise ValueError(
            f"{len(table)} lines, needed is one for each of {len(betas)} budgets and "
            f"{len(counts)} numbers of rows"
        )
    us_BRF = np.array([[found[beta, rows] for rows in counts] for beta in betas])
    masked_BR, sorted_BR = us_BRF.transpose(2, 0, 1)
    masked_BR[:] = np.median(masked_BR, axis=0)
    np.maximum.accumulate(sorted_BR, axis=0, out=sorted_BR)
    return RowTimes(np.array(betas), np.array(counts, float), np.stack([masked_BR, sorted_BR]))
