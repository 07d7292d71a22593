"""The labels of an answer by name, for the picture endpoint: the best ones, or all probabilities.

An answer of a thousand classes is not sent as a thousand numbers unless a request asks for them:
`top` lists the best labels, 5 by default. `probabilities` are those of all classes, in their order;
by default they are sent where there are few.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.manifest import Manifest
from serving.oip.tensors import shorten

TOP_K = "top_k"
ALL = "all"
MAX_TOP = 100  # labels of one answer with their names; they are listed in the event loop
_FEW = 32  # labels
_DIGITS = re.compile(r"\d{1,4}", re.ASCII)

Probabilities = npt.NDArray[np.floating[Any]]
Places = npt.NDArray[np.intp]


class LabelView(NamedTuple):
    """What an answer shows of its labels."""

    top: int  # so many of the best labels
    whole_up_to: int  # all probabilities too, where there are at most so many


DEFAULT_VIEW = LabelView(top=5, whole_up_to=20)
WHOLE_VIEW = LabelView(top=0, whole_up_to=2**31)


def read_label_view(query: Mapping[str, str], manifest: Manifest) -> LabelView:
    """Return what a request's `top_k` asks for. Raises InvalidInput.

    Of a route that declares a parameter `top_k` itself, the parameter is the route's.
    """
    given = query.get(TOP_K)
    if given is None or TOP_K in manifest.parameters:
        return DEFAULT_VIEW
    if given == ALL:
        return WHOLE_VIEW
    if _DIGITS.fullmatch(given) and 1 <= int(given) <= MAX_TOP:
        return LabelView(top=int(given), whole_up_to=0)
    raise InvalidInput(
        f"parameters.{TOP_K}: given {shorten(given)}, allowed 1 to {MAX_TOP} or '{ALL}'"
    )


def describe_labels(
    outputs: Mapping[str, Any], names: Sequence[str], view: LabelView
) -> dict[str, Any]:
    """Return what a classifier's outputs show of its labels, beside `label` itself; nothing for
    outputs of another kind.

    `outputs` are of one row: `probabilities` [K] and `label`, or `labels` [K], which marks those
    that hold where several can. Then `top` lists the best of the others.
    """
    probabilities = np.asarray(outputs.get("probabilities"))
    if probabilities.ndim != 1 or probabilities.dtype.kind != "f":
        return {}
    facts: dict[str, Any] = {}
    places: Places | None = None
    if "label" not in outputs:
        holds = np.asarray(outputs.get("labels"))
        if holds.dtype != np.bool_ or holds.shape != probabilities.shape:
            return {}
        facts["labels"] = _list_best(probabilities, np.flatnonzero(holds), len(holds), names)
        places = np.flatnonzero(~holds)
    if view.top:
        facts["top"] = _list_best(probabilities, places, view.top, names)
    if len(probabilities) <= view.whole_up_to:
        facts["probabilities"] = np.ascontiguousarray(probabilities)
    return facts


def _list_best(
    probabilities: Probabilities, places: Places | None, count: int, names: Sequence[str]
) -> list[dict[str, Any]]:
    """List the best of the labels at these places (None: of all), the most probable first; of equal
    ones, the one with the lower number.
    """
    own = probabilities if places is None else probabilities[places]
    ranked = _rank(own, count)
    labels = ranked if places is None else places[ranked].tolist()
    return [
        {
            **({"label_name": names[label]} if label < len(names) else {}),
            "label": label,
            "probability": own[place],
        }
        for place, label in zip(ranked, labels, strict=True)
    ]


def _rank(own: Probabilities, count: int) -> list[int]:
    """Return the indices of the `count` highest, in order; sorting a few is faster in Python."""
    if len(own) <= _FEW:
        values = own.tolist()
        return sorted(range(len(values)), key=values.__getitem__, reverse=True)[:count]
    best = np.arange(len(own))
    if len(own) > count:
        best = np.flatnonzero(own >= np.partition(own, len(own) - count)[len(own) - count])
    order = np.argsort(-own[best], kind="stable")[:count]
    ranked: list[int] = best[order].tolist()
    return ranked
