"""The limit of a body, from the shapes of its route."""

import json

import numpy as np
import pytest

from serving.engine.body_limits import FLOOR_BYTES, HEAD_BYTES, limit_body, measure_row
from tests.serving.small_engine import make_manifest


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 1)])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("datatype", "widest"),
    [
        ("UINT8", 255), ("INT8", -128), ("UINT16", 65535), ("INT16", -32768),
        ("INT32", -(2**31)), ("INT64", -(2**63)), ("UINT64", 2**64 - 1),
        ("BOOL", False), ("FP64", -2.2250738585072014e-308), ("FP32", -1.1754943508222875e-38),
    ],
)  # fmt: skip
def test_the_widest_row_as_pythons_json_writes_it_has_room(
    datatype: str, widest: float, nested: bool, shape: tuple[int, ...]
) -> None:
    spec = {"name": "image", "datatype": datatype, "shape": [-1, *shape]}
    row_bytes = measure_row(make_manifest(inputs=[spec]))
    assert row_bytes is not None
    rows = np.full((7, *shape), widest, dtype=object)
    text = json.dumps(rows.tolist() if nested else rows.ravel().tolist())
    assert len(text) <= 7 * row_bytes + 4


def test_inputs_of_any_size_and_of_text_have_the_servers_limit() -> None:
    sized = {"name": "a", "datatype": "UINT8", "shape": [-1, 4]}
    free = {"name": "b", "datatype": "UINT8", "shape": [-1, -1]}
    text = {"name": "c", "datatype": "BYTES", "shape": [-1, 1]}
    assert measure_row(make_manifest(inputs=[sized, free])) is None
    assert measure_row(make_manifest(inputs=[text])) is None
    assert limit_body(None, 256, 7) == 7


def test_a_limit_lies_between_the_floor_and_the_servers() -> None:
    assert limit_body(10, 256, 2**24) == FLOOR_BYTES
    assert limit_body(2**13, 256, 2**24) == HEAD_BYTES + 2**21
    assert limit_body(2**20, 256, 2**24) == 2**24
    assert limit_body(10, 256, 1000) == 1000
