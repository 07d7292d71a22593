"""`python compile_all.py CAPABILITY`: compile every kernel for this accelerator, which need not be
there; prints a line for each, with what its products run on."""

import re
import sys
from typing import Any

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tokens.acm.kernels import choosing, products
from tokens.acm.kernels.tiles import HALF

WHOLE = {"chosen", "counts", "order", "ordered"}  # pointers to int32
NUMBERS = {"rows", "tokens", "width", "choices", "units", "own", "outputs", "blocks"}
TILES = {"ROWS": HALF.rows, "COLUMNS": HALF.columns, "INNER": HALF.inner, "GROUP": HALF.group}
STAGES = {"num_warps": HALF.warps, "num_stages": HALF.stages}
GATE = {"SMALLEST": 0, "SLOTS": 8, "HIDDEN": 16, "CHOICES": 16, "ROWS": 64, "INNER": 64}


def main(capability: int) -> None:
    products_of = {"EVEN": True, "WIDEN": False, **TILES}
    compile_one(products._hide_kernel, {"GELU": True, **products_of}, STAGES, capability)
    compile_one(products._add_kernel, products_of, STAGES, capability)
    compile_one(
        choosing._gate_kernel, {**GATE, "WIDEN": False}, {}, capability, frozenset({"hidden"})
    )
    compile_one(choosing._place_kernel, {"SLOTS": 8, "ROWS": 64, "BLOCKS": 512}, {}, capability)


def compile_one(
    kernel: Any,  # Triton has no types
    constants: dict[str, Any],
    options: dict[str, int],
    capability: int,
    numbers: frozenset[str] = frozenset(),
) -> None:
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name in NUMBERS | numbers:
            signature[name] = "i32"
        elif name == "beta":
            signature[name] = "*fp32"
        else:
            signature[name] = "*i32" if name in WHOLE else "*bf16"
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in ("width", "units", "own", "outputs")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    found = compile_kernel(source, GPUTarget("cuda", capability, 32), options)
    text = found.asm["ptx"]
    parts = sorted(set(re.findall(r"(?<![\w.])(wgmma|mma|cp\.async|atom|red)\.", text)))
    print(kernel.__name__, found.metadata.shared, *parts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
