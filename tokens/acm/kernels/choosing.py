"""Gate and sort on an accelerator: which learners each row runs, and the rows in that order.

Two launches. The first is the whole gate, from tokens to choices, for a block of rows at a time,
and counts the block's choices. The second gives each row its place, the largest choice first and
rows of one choice in their order: from the counts of all blocks, so without atomic additions, and
with the same result every time. Nothing waits for the host, and grids depend on shapes alone, so
a CUDA graph may hold both.

Products are of the inputs' type and add up in float32; all that follows is float32.
Shapes: R rows, the tokens of B pictures, T each; D inputs, C choices.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokens.acm.gate import Gate
from tokens.acm.kernels.parts import count, gelu, load_vector, spread_budget
from tokens.acm.kernels.tiles import widens

BLOCK_ROWS = 64
LEAST = 16  # sides of a product
INNER = 64


@dataclass(frozen=True, slots=True)
class SortedRows:
    """Rows by choice. Layers that share a gate share it."""

    rows_R: Tensor  # int32: numbers of the rows, the largest choice first
    chosen_R: Tensor  # int32: the choice of each, in this order


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the gate chose, in the rows' own order and sorted."""

    one_hot_RC: Tensor  # of the inputs' type
    chosen_R: Tensor  # int32, numbers of learners
    order: SortedRows


def choose(gate: Gate, x_RD: Tensor, beta_B: Tensor) -> Chosen:
    """The likeliest choice of each row; R is a multiple of B, and rows of a picture stand together.

    `beta_B`: float32 in [0, 1]. All tensors are on the accelerator. Raises ValueError where gate
    and rows differ in type.
    """
    if gate.first.weight.dtype != x_RD.dtype:
        raise ValueError(f"a gate of {gate.first.weight.dtype} for rows of {x_RD.dtype}")
    rows, width = x_RD.shape
    choices = gate.last.out_features
    most = gate.smallest + choices  # numbers of learners, 0 included
    device = x_RD.device
    one_hot_RC = torch.empty(rows, choices, dtype=x_RD.dtype, device=device)
    chosen_R = torch.empty(rows, dtype=torch.int32, device=device)
    blocks, slots = triton.cdiv(rows, BLOCK_ROWS), triton.next_power_of_2(most)
    counts = torch.empty(blocks, slots, dtype=torch.int32, device=device)
    _gate_kernel[(blocks,)](
        x_RD.contiguous(), beta_B.to(torch.float32),
        gate.first.weight, gate.first.bias, gate.budget.weight, gate.budget.bias,
        gate.second.weight, gate.second.bias, gate.last.weight, gate.last.bias, gate.shift.weight,
        one_hot_RC, chosen_R, counts,
        rows, rows // len(beta_B), width, gate.first.out_features, choices,
        SMALLEST=gate.smallest, SLOTS=slots,
        HIDDEN=max(LEAST, triton.next_power_of_2(gate.first.out_features)),
        CHOICES=max(LEAST, triton.next_power_of_2(choices)),
        ROWS=BLOCK_ROWS, INNER=INNER, WIDEN=widens(x_RD.dtype),
        num_warps=4,
    )  # fmt: skip
    return Chosen(one_hot_RC, chosen_R, place_rows(chosen_R, counts))


def place_rows(chosen_R: Tensor, counts: Tensor) -> SortedRows:
    """Sort rows by choice; `counts`: how often each choice occurs in each block of rows."""
    blocks, slots = counts.shape
    order = SortedRows(torch.empty_like(chosen_R), torch.empty_like(chosen_R))
    _place_kernel[(blocks,)](
        chosen_R, counts, order.rows_R, order.chosen_R, len(chosen_R), blocks,
        SLOTS=slots, ROWS=BLOCK_ROWS, BLOCKS=triton.next_power_of_2(blocks),
    )  # fmt: skip
    return order


@triton.jit  # type: ignore[untyped-decorator]
def _gate_kernel(
    x: tl.tensor, beta: tl.tensor,
    first: tl.tensor, first_bias: tl.tensor, budget: tl.tensor, budget_bias: tl.tensor,
    second: tl.tensor, second_bias: tl.tensor, last: tl.tensor, last_bias: tl.tensor,
    shift: tl.tensor, one_hot: tl.tensor, chosen: tl.tensor, counts: tl.tensor,
    rows: tl.tensor, tokens: tl.tensor, width: tl.tensor, hidden: tl.tensor, choices: tl.tensor,
    SMALLEST: tl.constexpr, SLOTS: tl.constexpr, HIDDEN: tl.constexpr, CHOICES: tl.constexpr,
    ROWS: tl.constexpr, INNER: tl.constexpr, WIDEN: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    real = row < rows
    unit = tl.arange(0, HIDDEN)
    used = unit < hidden
    z = tl.full((ROWS, HIDDEN), 0.0, tl.float32)
    start = row.to(tl.int64) * width
    for begin in range(0, width, INNER):
        at = begin + tl.arange(0, INNER)
        inside = at < width
        part = tl.load(
            x + start[:, None] + at[None, :], mask=real[:, None] & inside[None, :], other=0.0
        )
        weight = tl.load(
            first + unit[None, :] * width + at[:, None],
            mask=used[None, :] & inside[:, None],
            other=0.0,
        )
        if WIDEN:
            part, weight = part.to(tl.float32), weight.to(tl.float32)
        z = tl.dot(part, weight, z, input_precision="ieee")
    b = tl.load(beta + row // tokens, mask=real, other=0.0)[:, None]
    z += load_vector(first_bias, unit, used) + load_vector(budget_bias, unit, used)
    z = gelu(z + spread_budget(b, budget, unit, used))
    both = used[:, None] & used[None, :]
    weight = tl.load(second + unit[None, :] * hidden + unit[:, None], mask=both, other=0.0)
    z = tl.dot(z, weight.to(tl.float32), input_precision="ieee")
    z = gelu(z + load_vector(second_bias, unit, used))
    choice = tl.arange(0, CHOICES)
    offered = choice < choices
    both = used[:, None] & offered[None, :]
    weight = tl.load(last + choice[None, :] * hidden + unit[:, None], mask=both, other=0.0)
    logits = tl.dot(z, weight.to(tl.float32), input_precision="ieee")
    logits += load_vector(last_bias, choice, offered) + spread_budget(b, shift, choice, offered)
    best = tl.argmax(tl.where(offered[None, :], logits, float("-inf")), axis=1)
    best = tl.minimum(best, choices - 1)  # without a largest logit, of a row of nan, it may be any
    tl.store(
        one_hot + row[:, None] * choices + choice[None, :],
        (best[:, None] == choice[None, :]).to(tl.float32).to(one_hot.dtype.element_ty),
        mask=real[:, None] & offered[None, :],
    )
    k = tl.where(real, best + SMALLEST, -1)
    tl.store(chosen + row, k, mask=real)
    count(k, counts, SLOTS)


@triton.jit  # type: ignore[untyped-decorator]
def _place_kernel(
    chosen: tl.tensor, counts: tl.tensor, order: tl.tensor, ordered: tl.tensor,
    rows: tl.tensor, blocks: tl.tensor,
    SLOTS: tl.constexpr, ROWS: tl.constexpr, BLOCKS: tl.constexpr,
) -> None:  # fmt: skip
    block = tl.program_id(0)
    row = block * ROWS + tl.arange(0, ROWS)
    real = row < rows
    k = tl.load(chosen + row, mask=real, other=-1)
    slot, each = tl.arange(0, SLOTS), tl.arange(0, BLOCKS)
    table = tl.load(
        counts + each[:, None] * SLOTS + slot[None, :], mask=each[:, None] < blocks, other=0
    )
    total = tl.sum(table, axis=0)
    earlier = tl.sum(tl.where(each[:, None] < block, table, 0), axis=0)
    larger = tl.sum(tl.where(slot[None, :] > slot[:, None], total[None, :], 0), axis=1)
    hit = (k[:, None] == slot[None, :]).to(tl.int32)
    rank = tl.cumsum(hit, axis=0) - hit
    place = tl.sum(hit * (rank + (larger + earlier)[None, :]), axis=1)
    tl.store(order + place, row, mask=real)
    tl.store(ordered + place, k, mask=real)
