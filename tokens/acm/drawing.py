"""Draws the executed learners of every token over the picture, as the paper's figures do.

Side by side: the picture, its mean over all blocks, and each block. Colours go from dark blue (no
learner) over green to yellow (all learners), the same in every picture.

Shapes: T tokens, M modules.
"""

import math

import numpy as np
import numpy.typing as npt

from tokens.acm.macs import NetCost

TILE_PX = 112  # height of a tile, at least
OPACITY = 0.65  # of the colours over the picture
COLOURS = np.array(  # anchors, evenly spaced from 0 to 1
    [[38, 16, 92], [52, 88, 150], [34, 150, 138], [128, 206, 84], [252, 232, 60]], np.float64
)

Pixels = npt.NDArray[np.uint8]


def draw_learners(
    picture: Pixels, learners_TM: npt.NDArray[np.int64], cost: NetCost, blocks: int
) -> Pixels | None:
    """uint8 [H, W, 3] of a picture [S, S] or [S, S, 3]; None if tokens do not form a square.

    A class token before the square is not drawn.
    """
    side = math.isqrt(len(learners_TM))
    others = len(learners_TM) - side * side
    if others > 1:
        return None
    learners_TM = learners_TM[others:]
    grey = picture if picture.ndim == 2 else None
    colour: Pixels = np.stack([grey] * 3, axis=2) if grey is not None else picture
    scale = -(-TILE_PX // len(colour))
    colour = colour.repeat(scale, axis=0).repeat(scale, axis=1)
    macs_M = np.array([module.learner for module in cost.modules])
    most_M = macs_M * cost.modules[0].learners
    spent_TB = (learners_TM * macs_M).reshape(len(learners_TM), blocks, -1).sum(axis=2)
    most_B = most_M.reshape(blocks, -1).sum(axis=1)
    shares = [spent_TB.sum(axis=1) / most_B.sum(), *(spent_TB / most_B).T]
    return np.concatenate(
        [colour, *(_lay_over(colour, share.reshape(side, side)) for share in shares)], axis=1
    )


def _lay_over(picture: Pixels, shares: npt.NDArray[np.float64]) -> Pixels:
    """Colour the picture by a grid of shares in [0, 1]."""
    anchors = np.linspace(0, 1, len(COLOURS))
    heat = np.stack([np.interp(shares, anchors, one) for one in COLOURS.T], axis=2)
    rows, columns = (
        np.arange(size) * len(shares) // size for size in (picture.shape[0], picture.shape[1])
    )
    heat = heat[rows][:, columns]
    return np.asarray(np.round(OPACITY * heat + (1 - OPACITY) * picture), np.uint8)
