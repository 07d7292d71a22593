"""Batches are proved by running: fixed ones are made free, dependent rows run one at a time."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from importing.onnx_files.batching import prove_batches
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import open_graph
from tests.fakes.own_models import (
    make_linear,
    make_model,
    make_picture_net,
    make_text,
    make_transformer,
)


def _reshaping(first: int, *rest: int) -> onnx.ModelProto:
    """A model with a fixed batch of 1 that reshapes its rows to a constant shape."""
    return make_model(
        [
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1, 2, 4])],
        [("y", TensorProto.FLOAT, [1, 3])],
        {
            "shape": np.array([first, *rest], np.int64),
            "w": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32),
        },
    )


def _centred(batch: int | str) -> onnx.ModelProto:
    """A model that subtracts the batch's mean, so that rows depend on each other."""
    return make_model(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [batch, 4])],
        [("y", TensorProto.FLOAT, [batch, 4])],
        {},
    )


def _expanding(computed: bool) -> onnx.ModelProto:
    """A model with a fixed batch of 1 that expands a constant to it, maybe to computed sizes."""
    first = helper.make_node("Mul", ["shape", "shape"], ["sizes"])
    return make_model(
        [
            *([first] if computed else []),
            helper.make_node("Expand", ["token", "sizes" if computed else "shape"], ["tokens"]),
            helper.make_node("Concat", ["tokens", "x"], ["y"], axis=1),
        ],
        [("x", TensorProto.FLOAT, [1, 2, 4])],
        [("y", TensorProto.FLOAT, [1, 3, 4])],
        {"token": np.ones((1, 1, 4), np.float32), "shape": np.array([1, 1, 1], np.int64)},
    )


@pytest.mark.parametrize(
    "model", [make_linear(), make_text(), make_text(mask=True), make_picture_net(width=4)]
)
def test_a_free_batch_is_proved_and_the_model_kept(model: onnx.ModelProto) -> None:
    found = prove_batches(model)
    assert (found.batches, found.rewritten) == (True, False)
    assert found.model is model


@pytest.mark.parametrize(
    "model",
    [
        make_linear(batch=1),
        make_picture_net(batch=1),
        _reshaping(1, 8),
        _reshaping(1, -1),
        _expanding(computed=False),
        _expanding(computed=True),
        make_transformer("split"),
        make_transformer("folded"),
    ],
)
def test_a_fixed_batch_of_one_is_made_free_and_answers_as_before(model: onnx.ModelProto) -> None:
    found = prove_batches(model)
    assert (found.batches, found.rewritten) == (True, True)
    freed = open_graph(found.model)
    assert freed.inputs[0].shape[0] == -1
    rows = np.random.default_rng(0).normal(size=(7, *freed.inputs[0].shape[1:]))
    rows = rows.astype(np.float32)
    name, source = freed.inputs[0].name, open_graph(model)
    alone = [source.run({name: rows[i : i + 1]})[0] for i in range(7)]
    np.testing.assert_allclose(
        freed.run({name: rows})[0], np.concatenate(alone), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("batch", [1, "N"])
def test_rows_that_depend_on_each_other_run_one_at_a_time(batch: int | str) -> None:
    found = prove_batches(_centred(batch))
    assert not found.batches
    assert "depends on the rows beside it" in found.reason
    assert open_graph(found.model).inputs[0].shape == (-1, 4)


def test_masks_of_different_lengths_show_rows_that_depend_on_the_longest() -> None:
    model = make_model(
        [
            helper.make_node("ReduceMax", ["attention_mask"], ["longest"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["x", "longest"], ["y"]),
        ],
        [
            ("x", TensorProto.FLOAT, ["N", 6]),
            ("attention_mask", TensorProto.FLOAT, ["N", 6]),
        ],
        [("y", TensorProto.FLOAT, ["N", 6])],
        {},
    )
    found = prove_batches(model)
    assert not found.batches
    assert "depends on the rows beside it" in found.reason


def test_a_batch_that_fails_runs_one_row_at_a_time() -> None:
    model = make_model(
        [helper.make_node("MatMul", ["one", "x"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 4])],
        [("y", TensorProto.FLOAT, [1, 4])],
        {"one": np.ones((1, 1), np.float32)},
    )
    found = prove_batches(model)
    assert not found.batches
    assert "a batch of 5 fails" in found.reason
    assert open_graph(found.model).run({"x": np.ones((1, 4), np.float32)})[0].shape == (1, 4)


def test_a_batch_in_all_shapes_that_cannot_be_made_free_runs_one_row_with_free_declarations() -> (
    None
):
    model = make_transformer("lost")
    found = prove_batches(model)
    assert (found.batches, found.rewritten) == (False, True)
    kept = open_graph(found.model)
    assert (kept.inputs[0].shape, kept.outputs[0].shape) == ((-1, 3, 8, 8), (-1, 3))
    row = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(kept.run({"x": row})[0], open_graph(model).run({"x": row})[0])


def test_a_fixed_batch_of_several_rows_is_refused() -> None:
    with pytest.raises(ImportFault, match="takes exactly 4 rows at once"):
        prove_batches(make_linear(batch=4))


def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    model = make_model(
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"]),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["N", 4])],
        [("y", TensorProto.FLOAT, ["N", 4])],
        {},
    )
    with pytest.raises(ImportFault, match="answers the same row in two ways"):
        prove_batches(model)
