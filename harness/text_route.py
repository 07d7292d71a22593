"""A route whose input is text, for tests of strings: a word that its network knows gets a class."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.tiny_routes import describe_file, write_route


def write_text_route(root: Path) -> None:
    """`text`: one stage, whose input `words` is BYTES [N,1]."""

    def change(table: dict[str, Any]) -> None:
        path = root / "text" / "1" / "stage0.onnx"
        path.write_bytes(_make_text_net().SerializeToString())
        table["inputs"] = [{"name": "words", "datatype": "BYTES", "shape": [-1, 1]}]
        table["files"]["stage0.onnx"] = describe_file(path)
        del table["picture"]

    write_route(root, "text", stages=1, pipeline="single", task="read-tiny", change=change)


def _make_text_net() -> onnx.ModelProto:
    """A word is a number, the number times a weight a class are the logits."""
    weight = np.linspace(-1, 1, 10, dtype=np.float32)[None]
    nodes = [
        helper.make_node(
            "LabelEncoder", ["words"], ["number"], domain="ai.onnx.ml",
            keys_strings=["a"], values_floats=[1.0], default_float=2.0,
        ),
        helper.make_node("MatMul", ["number", "weight"], ["logits"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["N", 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
