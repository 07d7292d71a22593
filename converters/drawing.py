"""Draws the conversion of an explained row, for converters whose net returns `converted`.

`converted` FP32 [N, H × W] holds the converted pictures, pixels in [0, 1]. A stage notes it only
while a caller waits for a picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from core.classifiers.route import read_outputs
from core.columns import NO_NOTES
from core.explaining import EXPLAIN, RowPath
from core.messages import Array, Batch

CONVERTED = "converted"
_PIXELS = 224  # of a drawn picture's height, at least


def returns_converted(session: onnxruntime.InferenceSession) -> bool:
    """Return whether a net gives what is drawn."""
    return CONVERTED in read_outputs(session)


def choose_outputs(rows: Batch, outputs: Sequence[str], *, draws: bool) -> Sequence[str]:
    """Return the outputs to fetch for a batch: `converted` comes last, if a row needs it."""
    return [*outputs, CONVERTED] if draws and EXPLAIN in rows.controls else outputs


def make_notes(
    outputs: Sequence[str], values: Sequence[np.ndarray]
) -> tuple[Sequence[np.ndarray], Mapping[str, Array]]:
    """Divide the values of `choose_outputs` into the others and the stage's notes."""
    if outputs[-1] != CONVERTED:
        return values, NO_NOTES
    return values[:-1], {CONVERTED: values[-1]}


def draw_conversion(inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
    """Return the given picture and the converted one side by side, uint8 [H, 2 W]; None if the
    row was not converted.
    """
    found = [run.notes[CONVERTED] for run in path.runs if CONVERTED in run.notes]
    if not found:
        return None
    (given,) = inputs.values()
    unit = np.asarray(found[0]).reshape(given.shape)
    converted = np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    scale = -(-_PIXELS // len(given))
    both = np.concatenate([np.asarray(given, np.uint8), converted], axis=1)
    return both.repeat(scale, axis=0).repeat(scale, axis=1)
