"""How a product is cut into tiles, one for each program of the accelerator.

The defaults are what such products are usually cut into. They were chosen without an accelerator;
`python -m benchmarks.acm_kernels --tune` compares others.
"""

from dataclasses import dataclass, replace

import torch
import triton


@dataclass(frozen=True, slots=True)
class Tiles:
    """Powers of two, 16 at least."""

    rows: int = 128
    columns: int = 128
    inner: int = 64  # of the sum, in one step
    group: int = 8  # tiles of rows that share columns while these are cached
    warps: int = 8
    stages: int = 3  # steps whose loads are under way together


HALF = Tiles()
FULL = Tiles(rows=64, columns=64, inner=32, warps=4, stages=2)
SMALL = Tiles(rows=16, columns=16, inner=16, group=2, warps=1, stages=1)  # for an interpreter


def choose_tiles(dtype: torch.dtype, units: int) -> Tiles:
    """For 2 bytes a number, or 4, and learners of so many hidden units, which whole steps should
    divide. Raises ValueError for other types."""
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise ValueError(
            f"kernels for {dtype} do not exist, only for bfloat16, float16 and float32"
        )
    tiles = FULL if dtype == torch.float32 else HALF
    steps = [step for step in (64, 32, 16) if step <= tiles.inner and units % step == 0]
    return replace(tiles, inner=steps[0]) if steps else tiles


def widens(dtype: torch.dtype) -> bool:
    """Whether products need float32 first: Triton's interpreter has none of bfloat16. Its numbers
    are exact in float32, and so are their products, so the result is the same."""
    return dtype == torch.bfloat16 and bool(triton.knobs.runtime.interpret)
