"""Running chosen learners without running the others, in two ways, and all of them as a third.

Rows are sorted by their choice once, the largest first. Learner n then works on the first
`counts[n - 1]` rows, those that chose n or more: contiguous, without masks. `run_prefixes` does so
learner by learner. `run_groups` takes all rows of one choice at a time through the concatenated
weights of their prefix. `run_dense` runs every learner and drops what was not chosen: it is the
fastest for few rows, and the plain reference of both others. Which one is the fastest depends on
rows and width; it is measured elsewhere.

All are for inference: no gradient passes. Shapes: R rows, D inputs, E outputs, N learners.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tokens.acm.learners import Learners

Form = Literal["dense", "prefixes", "groups"]


@dataclass(frozen=True, slots=True)
class Order:
    """Rows sorted by choice. Modules that share a gate share it."""

    chosen_R: Tensor  # each row's choice, in the rows' own order
    rows: Tensor  # the rows that run any learner, the largest choice first
    counts: tuple[int, ...]  # by n - 1: how many of them run learner n


@dataclass(frozen=True, slots=True)
class Ran:
    """Outputs [R, E], and how many (row, learner) pairs the products worked on."""

    outputs: Tensor
    pairs: int


def sort_rows(chosen_R: Tensor, learners: int) -> Order:
    """Sort by choice, the largest first; rows of one choice keep their order."""
    by_choice = torch.bincount(chosen_R, minlength=learners + 1)
    counts = by_choice.flip(0).cumsum(0).flip(0)[1:].tolist()
    rows = chosen_R.argsort(descending=True, stable=True)[: counts[0]]
    return Order(chosen_R, rows, tuple(counts))


@torch.no_grad()
def run_prefixes(learners: Learners, x_RD: Tensor, order: Order) -> Ran:
    """One pair of products a learner, on the rows that run it."""
    taken = x_RD[order.rows]
    summed = learners.bias.expand(len(taken), -1).clone()
    width = learners.spec.hidden
    for place, count in enumerate(order.counts):
        if count == 0:
            break
        hidden = learners.hide(taken[:count], place, place + 1)
        summed[:count].addmm_(hidden, learners.second[place * width : (place + 1) * width])
    return Ran(_put_back(learners, summed, order), sum(order.counts))


@torch.no_grad()
def run_groups(learners: Learners, x_RD: Tensor, order: Order) -> Ran:
    """One pair of products a distinct choice, on the rows that made it."""
    taken = x_RD[order.rows]
    summed = taken.new_empty(len(taken), learners.spec.outputs)
    pairs = 0
    starts = (*order.counts[1:], 0)
    for place, (start, stop) in enumerate(zip(starts, order.counts, strict=True)):
        if start < stop:
            summed[start:stop] = learners.prefix(taken[start:stop], place + 1)
            pairs += (place + 1) * (stop - start)
    return Ran(_put_back(learners, summed, order), pairs)


@torch.no_grad()
def run_dense(learners: Learners, x_RD: Tensor, order: Order) -> Ran:
    """Every learner on every row; what was not chosen counts as run, for it did run."""
    places = torch.arange(learners.spec.learners, device=x_RD.device)
    shares_RN = (order.chosen_R.unsqueeze(1) > places).to(x_RD.dtype)
    return Ran(learners.weigh(x_RD, shares_RN), len(x_RD) * learners.spec.learners)


FORMS: dict[Form, Callable[[Learners, Tensor, Order], Ran]] = {
    "dense": run_dense,
    "prefixes": run_prefixes,
    "groups": run_groups,
}


def _put_back(learners: Learners, summed: Tensor, order: Order) -> Tensor:
    """In the rows' own order; a row without a learner gets the bias that every prefix shares."""
    rows = len(order.chosen_R)
    if order.counts[0] == rows:
        return torch.empty_like(summed).index_copy_(0, order.rows, summed)
    outputs = learners.bias.expand(rows, -1).clone()
    return outputs.index_copy_(0, order.rows, summed)
