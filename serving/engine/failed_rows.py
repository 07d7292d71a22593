"""The answer of a row that failed in a request with `partial`: no label, no numbers."""

from collections.abc import Iterable

import numpy as np

from core.datatypes import DATATYPES
from core.manifest import TensorSpec
from core.messages import Outcomes

EXIT = "failed"


def make_failed_outcomes(outputs: Iterable[TensorSpec]) -> Outcomes | None:
    """Return one row with -1 for integers (0 without a sign), NaN for floats and empty texts; None
    if the size of an output is not declared.
    """
    columns = {}
    for spec in outputs:
        if any(size < 0 for size in spec.shape[1:]):
            return None
        columns[spec.name] = np.full((1, *spec.shape[1:]), _pick_value(spec), _pick_dtype(spec))
    return Outcomes(columns, np.full(1, np.nan), 0, (EXIT,))


def _pick_dtype(spec: TensorSpec) -> np.dtype[np.generic]:
    return np.dtype(object) if spec.datatype == "BYTES" else np.dtype(DATATYPES[spec.datatype])


def _pick_value(spec: TensorSpec) -> object:
    if spec.datatype == "BYTES":
        return b""
    kind = np.dtype(DATATYPES[spec.datatype]).kind
    return {"f": np.nan, "i": -1}.get(kind, 0)
