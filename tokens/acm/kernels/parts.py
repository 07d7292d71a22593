"""What several kernels share."""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def gelu(z: tl.tensor) -> tl.tensor:
    """The exact one, of float32."""
    return 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))


@triton.jit  # type: ignore[untyped-decorator]
def load_vector(start: tl.tensor, place: tl.tensor, used: tl.tensor) -> tl.tensor:
    """[1, place] as float32, 0 where it is not used."""
    return tl.load(start + place, mask=used, other=0.0).to(tl.float32)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def spread_budget(
    beta: tl.tensor, weight: tl.tensor, place: tl.tensor, used: tl.tensor
) -> tl.tensor:
    """A linear layer of a budget's three terms, without its bias: [rows, place]."""
    linear = load_vector(weight, place * 3, used)
    square = load_vector(weight, place * 3 + 1, used)
    rooted = load_vector(weight, place * 3 + 2, used)
    return beta * linear + beta * beta * square + tl.sqrt(beta) * rooted


@triton.jit  # type: ignore[untyped-decorator]
def count(chosen: tl.tensor, counts: tl.tensor, SLOTS: tl.constexpr) -> None:
    """Store how often each choice occurs among those of this program."""
    slot = tl.arange(0, SLOTS)
    found = tl.sum((chosen[:, None] == slot[None, :]).to(tl.int32), axis=0)
    tl.store(counts + tl.program_id(0) * SLOTS + slot, found)
