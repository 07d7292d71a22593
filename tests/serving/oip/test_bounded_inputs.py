"""Values outside an input's bounds are the caller's fault."""

from typing import Any

import pytest

from core.manifest import TensorSpec

FACTS: dict[str, Any] = {"name": "x", "datatype": "INT64", "shape": (-1, 3)}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"min": 3, "max": 2}, "min is larger than max"),
        ({"datatype": "BYTES", "min": 0}, "given for BYTES, allowed for numbers"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TensorSpec.model_validate({**FACTS, **facts})


def test_an_input_may_have_one_bound() -> None:
    spec = TensorSpec.model_validate({**FACTS, "max": 9})
    assert (spec.min, spec.max) == (None, 9)
