"""A stage's batch is proved again on the user's rows."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from importing.onnx_files.reading import read_model
from importing.stage_files import finish_outputs, prepare_model
from tests.fakes.own_models import make_model, save


def test_rows_of_all_classes_prove_the_batch(tmp_path: Path) -> None:
    """The model's rows depend on each other where one is above 50, as in the last class alone."""
    model = make_model(
        [
            helper.make_node("Sub", ["x", "most"], ["above"]),
            helper.make_node("Relu", ["above"], ["excess"]),
            helper.make_node("ReduceMax", ["excess"], ["shared"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "shared"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["N", 4])],
        [("y", TensorProto.FLOAT, ["N", 4])],
        {"most": np.array([50], np.float32)},
    )
    prepared = prepare_model("net", read_model(save(model, tmp_path / "net.onnx")))
    assert prepared.batching.batches
    rows = np.linspace(0, 100, 800, dtype=np.float32).reshape(200, 4)
    made = finish_outputs(prepared, prepared.model, {"x": rows})
    assert not made.batches
    assert "depends on the rows beside it" in made.batching
