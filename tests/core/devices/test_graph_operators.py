"""Reading the operators of an ONNX file, compared with the `onnx` package's reading."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from core.devices.graph_operators import STEADY, find_operators
from core.devices.onnx import OnnxDevice
from tests.fakes.stalling import write_stalling_route

MODELS = sorted(Path("models").glob("*/*/*.onnx"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: "/".join(path.parts[1:]))
def test_operators_are_those_that_onnx_reads(path: Path) -> None:
    found = find_operators(path.read_bytes())
    assert found == {node.op_type for node in onnx.load_model(path).graph.node}
    assert found <= STEADY
    assert OnnxDevice().has_steady_time(path)


def test_a_loop_has_no_steady_time(tmp_path: Path) -> None:
    write_stalling_route(tmp_path)
    assert not OnnxDevice().has_steady_time(tmp_path / "tiny" / "1" / "stage1.onnx")
    assert OnnxDevice().has_steady_time(tmp_path / "tiny" / "1" / "stage0.onnx")


def test_more_threads_and_other_files_have_no_steady_time(tmp_path: Path) -> None:
    assert not OnnxDevice(threads=2).has_steady_time(MODELS[0])
    assert not OnnxDevice().has_steady_time(tmp_path / "missing.onnx")


def test_a_function_of_the_model_is_not_looked_into() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("own", ["x"], ["y"], domain="a")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("a", 1)]
    relu = helper.make_node("Relu", ["x"], ["y"])
    own = helper.make_function("a", "own", ["x"], ["y"], [relu], opsets[:1])
    model = helper.make_model(graph, opset_imports=opsets, functions=[own])
    assert find_operators(model.SerializeToString()) == {"own", "function"}


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_file_that_is_cut_off_is_refused_or_read_in_part(cut: int) -> None:
    whole = MODELS[0].read_bytes()
    try:
        found = find_operators(whole[: len(whole) - cut])
    except ValueError:
        return
    assert found <= find_operators(whole)


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x3a\x7f", b"\x3b", b"\x0d\x00"])
def test_bytes_that_are_no_message_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        find_operators(content)
