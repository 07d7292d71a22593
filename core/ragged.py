"""Runs a session on a batch whose rows may differ in shape, as token ids of different lengths do.

Rows of one shape run together. Which rows run together changes nothing in a row's answer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from core.messages import Array


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feed: Mapping[str, Array]
) -> list[Array]:
    """Return the outputs [N, ...] for inputs [N, ...], or lists of N rows of different shapes."""
    if all(isinstance(rows, np.ndarray) for rows in feed.values()):
        found: list[Array] = session.run(outputs, feed)
        return found
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    count = len(next(iter(feed.values())))
    for row in range(count):
        shapes = tuple(np.shape(rows[row]) for rows in feed.values())
        groups.setdefault(shapes, []).append(row)
    parts = [
        session.run(
            outputs, {name: np.stack([rows[i] for i in places]) for name, rows in feed.items()}
        )
        for places in groups.values()
    ]
    back = np.argsort(np.concatenate([np.array(places) for places in groups.values()]))
    return [np.concatenate(part)[back] for part in zip(*parts, strict=True)]


def take_rows(rows: Array, places: "np.ndarray") -> Array:
    """Return a copy of some rows of an input [N, ...], or of a list of N rows."""
    if isinstance(rows, np.ndarray):
        return rows[places]
    return [rows[place] for place in places.tolist()]
