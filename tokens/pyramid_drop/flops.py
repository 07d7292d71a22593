"""What the visual tokens of a prompt cost in the layers of a decoder, by PyramidDrop's formula.

The formula (section 3.4 of arXiv 2410.17247) counts multiply-accumulate operations and calls them
FLOPs: 4nd² + 2n²d + 3ndm a layer, for n visual tokens, width d and m hidden units of a gated MLP.
It leaves out text, the vision part, grouped keys, and the half of attention that a causal mask
saves.
"""

from dataclasses import dataclass

from tokens.pyramid_drop.schedule import Schedule


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """What decides the cost of a decoder."""

    layers: int
    width: int
    hidden: int  # units of the MLP
    key_width: int  # of all key heads together; the width without grouped queries


VICUNA_7B = DecoderShape(layers=32, width=4096, hidden=11008, key_width=4096)


def paper_flops(shape: DecoderShape, tokens: int, schedule: Schedule) -> float:
    """The paper's figure for a prompt of that many visual tokens, in its FLOPs.

    Counts are not rounded here: 40 % of 576 tokens are 230.4.
    """
    width, hidden = shape.width, shape.hidden
    return sum(
        4 * n * width**2 + 2 * n**2 * width + 3 * n * width * hidden
        for n in (tokens * share for share in schedule.shares(shape.layers))
    )


def decoder_macs(shape: DecoderShape, tokens: int, text: int, schedule: Schedule) -> int:
    """MACs of a prefill in the decoder's layers, text included, with grouped keys.

    Attention is counted in full, as the common kernels run it.
    """
    each = 2 * shape.width**2 + 2 * shape.width * shape.key_width + 3 * shape.width * shape.hidden
    lengths = [count + text for count in schedule.counts(tokens, shape.layers)]
    return sum(length * each + 2 * length**2 * shape.width for length in lengths)
