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
    """Return the outputs [N, ...] for inputs [N, ...], or lists of N rows of different shapes.

    An output whose rows differ in shape is a list of N rows. Raises ValueError if an output does
    not have one entry for each row: its first dimension is something else.
    """
    if all(isinstance(rows, np.ndarray) for rows in feed.values()):
        return _run(session, outputs, feed)
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    count = len(next(iter(feed.values())))
    for row in range(count):
        shapes = tuple(np.shape(rows[row]) for rows in feed.values())
        groups.setdefault(shapes, []).append(row)
    parts = [
        _run(
            session, outputs, {name: np.stack([rows[i] for i in at]) for name, rows in feed.items()}
        )
        for at in groups.values()
    ]
    back = np.argsort(np.concatenate([np.array(places) for places in groups.values()]))
    return [_join(part, back) for part in zip(*parts, strict=True)]


def take_rows(rows: Array, places: "np.ndarray") -> Array:
    """Return a copy of some rows of an input [N, ...], or of a list of N rows."""
    if isinstance(rows, np.ndarray):
        return rows[places]
    return [rows[place] for place in places.tolist()]


def _run(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feed: Mapping[str, Array]
) -> list[Array]:
    found: list[Array] = session.run(outputs, feed)
    count = len(next(iter(feed.values())))
    for name, values in zip(outputs, found, strict=True):
        if values.shape[:1] != (count,):
            raise ValueError(f"output {name} is {list(values.shape)} for {count} rows")
    return found


def _join(parts: Sequence[Array], back: "np.ndarray") -> Array:
    """Join the groups' rows in the order of the batch: [N, ...], or a list of rows where they
    differ in shape.
    """
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)[back]
    rows = [row for part in parts for row in part]
    return [rows[place] for place in back.tolist()]
