"""A layer's learners on an accelerator: two launches, for rows that are sorted by choice.

The first makes the hidden units of every row's learners, and gathers the rows as it loads them. The
second adds up the outputs, and scatters them as it stores. Both grids are as large as if every
learner ran; a program whose rows run none of its learners ends at once, after a look at the largest
choice among them, which is the first. So the host waits for nothing, and a CUDA graph may hold
both. Only tiles at the border of two choices work on rows that need less, whose hidden units become
zero there: at most one tile of rows for each choice.

Sums are float32, without atomic additions, and in one order whatever rows come together. Hidden
units are stored in the inputs' type, as between the layers of a dense MLP.

Shapes: R rows, D inputs, E outputs, U hidden units of all learners, W of one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokens.acm.kernels.choosing import SortedRows
from tokens.acm.kernels.parts import gelu, load_vector
from tokens.acm.kernels.tiles import Tiles, choose_tiles, widens
from tokens.acm.learners import Learners


def run_learners(
    learners: Learners, x_RD: Tensor, order: SortedRows, tiles: Tiles | None = None
) -> Tensor:
    """Each row's sum of its learners' outputs, and the bias, in the rows' own order: [R, E].

    For MLPs and for projections: the latter's learners have no GELU. No gradient passes. Raises
    ValueError where learners and rows differ in type, and for types that have no kernels.
    """
    if learners.first.dtype != x_RD.dtype:
        raise ValueError(f"learners of {learners.first.dtype} for rows of {x_RD.dtype}")
    tiles = tiles or choose_tiles(x_RD.dtype, learners.spec.hidden)
    x_RD = x_RD.contiguous()
    rows, width = x_RD.shape
    units, outputs = learners.second.shape
    own = learners.spec.hidden
    hidden_RU = torch.empty(rows, units, dtype=x_RD.dtype, device=x_RD.device)
    y_RE = torch.empty(rows, outputs, dtype=x_RD.dtype, device=x_RD.device)
    tiles_down = triton.cdiv(rows, tiles.rows)
    shape = {"ROWS": tiles.rows, "COLUMNS": tiles.columns, "INNER": tiles.inner,
             "GROUP": tiles.group, "WIDEN": widens(x_RD.dtype),
             "num_warps": tiles.warps, "num_stages": tiles.stages}  # fmt: skip
    _hide_kernel[(tiles_down * triton.cdiv(units, tiles.columns),)](
        x_RD, learners.first, learners.first_bias, hidden_RU, order.rows_R, order.chosen_R,
        rows, width, units, own,
        GELU=learners.spec.gelu, EVEN=width % tiles.inner == 0, **shape,
    )  # fmt: skip
    _add_kernel[(tiles_down * triton.cdiv(outputs, tiles.columns),)](
        hidden_RU, learners.second, learners.bias, y_RE, order.rows_R, order.chosen_R,
        rows, units, outputs, own,
        EVEN=own % tiles.inner == 0, **shape,
    )  # fmt: skip
    return y_RE


@triton.jit  # type: ignore[untyped-decorator]
def _hide_kernel(
    x: tl.tensor, first: tl.tensor, bias: tl.tensor, hidden: tl.tensor,
    order: tl.tensor, ordered: tl.tensor,
    rows: tl.tensor, width: tl.tensor, units: tl.tensor, own: tl.tensor,
    GELU: tl.constexpr, EVEN: tl.constexpr, WIDEN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
) -> None:  # fmt: skip
    down, across = (rows + ROWS - 1) // ROWS, (units + COLUMNS - 1) // COLUMNS
    program = tl.program_id(0)
    leading = program // (GROUP * across) * GROUP
    height = tl.minimum(down - leading, GROUP)
    tile_row = leading + program % (GROUP * across) % height
    tile_column = program % (GROUP * across) // height
    most = tl.load(ordered + tile_row * ROWS)
    if tile_column * COLUMNS >= most * own:
        return
    place = tile_row * ROWS + tl.arange(0, ROWS)
    real = place < rows
    row = tl.load(order + place, mask=real, other=0).to(tl.int64)
    k = tl.load(ordered + place, mask=real, other=0)
    unit = tile_column * COLUMNS + tl.arange(0, COLUMNS)
    used = unit < units
    at = tl.arange(0, INNER)
    left = x + row[:, None] * width + at[None, :]
    right = first + unit[None, :] * width + at[:, None]
    z = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    for begin in range(0, width, INNER):
        if EVEN:
            part = tl.load(left, mask=real[:, None], other=0.0)
            weight = tl.load(right, mask=used[None, :], other=0.0)
        else:
            inside = begin + at < width
            part = tl.load(left, mask=real[:, None] & inside[None, :], other=0.0)
            weight = tl.load(right, mask=used[None, :] & inside[:, None], other=0.0)
        if WIDEN:
            part, weight = part.to(tl.float32), weight.to(tl.float32)
        z = tl.dot(part, weight, z, input_precision="ieee")
        left += INNER
        right += INNER
    z += load_vector(bias, unit, used)
    if GELU:
        z = gelu(z)
    z = tl.where(k[:, None] > unit[None, :] // own, z, 0.0)
    tl.store(
        hidden + place.to(tl.int64)[:, None] * units + unit[None, :],
        z.to(hidden.dtype.element_ty),
        mask=real[:, None] & used[None, :],
    )


@triton.jit  # type: ignore[untyped-decorator]
def _add_kernel(
    hidden: tl.tensor, second: tl.tensor, bias: tl.tensor, y: tl.tensor,
    order: tl.tensor, ordered: tl.tensor,
    rows: tl.tensor, units: tl.tensor, outputs: tl.tensor, own: tl.tensor,
    EVEN: tl.constexpr, WIDEN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
) -> None:  # fmt: skip
    down, across = (rows + ROWS - 1) // ROWS, (outputs + COLUMNS - 1) // COLUMNS
    program = tl.program_id(0)
    leading = program // (GROUP * across) * GROUP
    height = tl.minimum(down - leading, GROUP)
    tile_row = leading + program % (GROUP * across) % height
    tile_column = program % (GROUP * across) // height
    place = tile_row * ROWS + tl.arange(0, ROWS)
    real = place < rows
    column = tile_column * COLUMNS + tl.arange(0, COLUMNS)
    used = column < outputs
    at = tl.arange(0, INNER)
    left = hidden + place.to(tl.int64)[:, None] * units + at[None, :]
    right = second + at[:, None] * outputs + column[None, :]
    total = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    stop = tl.load(ordered + tile_row * ROWS) * own
    for begin in range(0, stop, INNER):
        if EVEN:
            part = tl.load(left, mask=real[:, None], other=0.0)
            weight = tl.load(right, mask=used[None, :], other=0.0)
        else:
            inside = begin + at < stop
            part = tl.load(left, mask=real[:, None] & inside[None, :], other=0.0)
            weight = tl.load(right, mask=used[None, :] & inside[:, None], other=0.0)
        if WIDEN:
            part, weight = part.to(tl.float32), weight.to(tl.float32)
        total = tl.dot(part, weight, total, input_precision="ieee")
        left += INNER
        right += INNER * outputs
    total += load_vector(bias, column, used)
    row = tl.load(order + place, mask=real, other=0).to(tl.int64)
    tl.store(
        y + row[:, None] * outputs + column[None, :],
        total.to(y.dtype.element_ty),
        mask=real[:, None] & used[None, :],
    )
