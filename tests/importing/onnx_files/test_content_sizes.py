"""Outputs whose size depends on what a row holds, by the graph alone."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from importing.onnx_files.batching import prove_batches
from importing.onnx_files.content_sizes import find_content_sized
from tests.fakes.own_models import (
    make_finder,
    make_linear,
    make_model,
    make_picture_net,
    make_tagger,
    make_text,
)


def _make_shaped(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    weights = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "none": np.array([0], np.int64),
        "steps": np.array([1], np.int64),
    }
    return make_model(
        nodes,
        [("x", TensorProto.INT64, ["N", "L"])],
        [("y", TensorProto.INT64, ["N", "M"])],
        weights,
    )


def _shaped_by_shape() -> onnx.ModelProto:
    """As many columns as the input, by its Shape."""
    return _make_shaped(
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Expand", ["x", "sizes"], ["y"]),
    )


def _cut_at_a_value() -> onnx.ModelProto:
    """As many columns as the largest number in the rows, which trial rows may have in common."""
    return _make_shaped(
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Unsqueeze", ["largest", "none"], ["end"]),
        helper.make_node("Slice", ["x", "none", "end", "steps"], ["y"]),
    )


def _branching(on_values: bool) -> onnx.ModelProto:
    """Branches that depend on the rows' values, or on their shape."""
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "L"])],
        )
        for name in ("then", "else")
    }
    axes: dict[str, Any] = {"keepdims": 0} if on_values else {}
    return _make_shaped(
        helper.make_node("ReduceMax" if on_values else "Size", ["x"], ["largest"], **axes),
        helper.make_node("Greater", ["largest", "zero"], ["is"]),
        helper.make_node("If", ["is"], ["y"], **branches),
    )


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (make_finder(), {"found"}),
        (_cut_at_a_value(), {"y"}),
        (_branching(on_values=True), {"y"}),
        (_branching(on_values=False), set()),
        (_shaped_by_shape(), set()),
        (make_tagger(), set()),
        (make_text(), set()),
        (make_linear(), set()),
        (make_picture_net(width=4), set()),
    ],
)
def test_values_that_become_sizes_are_found(model: onnx.ModelProto, found: set[str]) -> None:
    assert find_content_sized(model) == found


def test_rows_of_a_size_that_depends_on_values_run_alone_though_trial_rows_have_one_size() -> None:
    found = prove_batches(_cut_at_a_value(), {"x": np.full((4, 8), 3, np.int64)})
    assert not found.batches
    assert found.reason.endswith("the size of output y depends on what a row holds")
