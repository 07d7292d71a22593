"""Files that are no models are refused, each with the sentence that says what to do."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import copy_model, open_graph
from importing.onnx_files.reading import read_model
from tests.fakes.own_models import make_linear, make_model, save


def _edit(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = make_linear()
    change(model)
    return model


def _poison(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))


def _cut_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:10]


def _move_weights_out(model: onnx.ModelProto, place: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)


def _own_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))


def _draw(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1]))


def _train(model: onnx.ModelProto) -> None:
    node = helper.make_node("BatchNormalization", ["x"], ["y"], training_mode=1)
    model.graph.node.append(node)


MODELS: dict[str, tuple[onnx.ModelProto, str]] = {
    "weights of NaN": (_edit(_poison), "weight w holds NaN; the training diverged"),
    "weights cut short": (_edit(_cut_weight), "weight w is incomplete"),
    "weights missing": (
        _edit(lambda m: _move_weights_out(m, "weights.bin")),
        "weights.bin, which is not beside it",
    ),
    "weights elsewhere": (
        _edit(lambda m: _move_weights_out(m, "../weights.bin")),
        "outside the model's folder",
    ),
    "opset too new": (
        _edit(lambda m: setattr(m.opset_import[0], "version", 999)),
        "uses opset 999, this installation knows up to",
    ),
    "unknown operators": (_edit(_own_operator), "the operator Gemm of 'my.ops'"),
    "training mode": (_edit(_train), "export it in eval mode"),
    "random numbers": (
        _edit(
            lambda m: m.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1]))
        ),
        r"draws random numbers \(RandomNormal\)",
    ),
    "no inputs": (_edit(lambda m: m.graph.ClearField("input")), "has no inputs"),
    "no outputs": (_edit(lambda m: m.graph.ClearField("output")), "has no outputs"),
    "a node without its input": (
        _edit(lambda m: m.graph.node[0].input.__setitem__(0, "nowhere")),
        "ONNX Runtime cannot load it",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_faulty_model_is_named_with_its_fault(case: str, tmp_path: Path) -> None:
    model, words = MODELS[case]
    with pytest.raises(ImportFault, match=words) as raised:
        read_model(save(model, tmp_path / "model.onnx"))
    assert str(raised.value).startswith(f"{tmp_path / 'model.onnx'}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", b"x", r"\.pt files are not served: export it: torch\.onnx\.export"),
        ("a.pt2", b"x", r"torch\.onnx\.export\(torch\.export\.load\(FILE\), f='model\.onnx'"),
        ("a.joblib", b"x", r"skl2onnx\.to_onnx"),
        ("a.pkl", b"x", r"skl2onnx\.to_onnx"),
        ("a.safetensors", b"x", "optimum-cli export onnx --model DIR OUT"),
        ("a.h5", b"x", r"load_model\(FILE\)\.export\('model\.onnx', format='onnx'\)"),
        ("a.keras", b"x", r"python -m tf2onnx\.convert --keras FILE --output model\.onnx"),
        ("a.pb", b"x", r"--graphdef FILE --inputs x:0 --outputs y:0 --output model\.onnx"),
        ("a.tflite", b"x", r"--tflite FILE --output model\.onnx"),
        ("a.engine", b"x", "cannot be turned back; give the ONNX file that it was built from"),
        ("a.mlmodel", b"x", r"onnxmltools\.convert_coreml\(coremltools\.utils\.load_spec"),
        ("a.ort", b"x", "give that ONNX file"),
        ("a.onnx", b"\x80\x04K\x01.", "a pickle, which can run any code"),
        ("a.onnx", b"\x89HDF\r\n", "an HDF5 file"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.onnx", b"", "is empty"),
        ("a.onnx", b"hello, world", "truncated, damaged or not an ONNX model|holds no graph"),
    ],
)
def test_a_file_that_is_no_onnx_model_is_refused_with_the_call_that_exports_it(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFault, match=words) as raised:
        read_model(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_torch_archive_under_another_name_is_recognised(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.onnx", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(ImportFault, match=r"as torch\.save writes it"):
        read_model(tmp_path / "a.onnx")


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = make_linear().SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImportFault, match="truncated"):
        read_model(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["nowhere.onnx", "."])
def test_a_path_without_a_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match=r"No such file|is a directory"):
        read_model(tmp_path / name)


def test_a_map_as_output_is_refused_with_the_option_of_its_export(tmp_path: Path) -> None:
    classifier = helper.make_node("ZipMap", ["p"], ["out"], domain="ai.onnx.ml")
    model = make_model([classifier], [("p", TensorProto.FLOAT, ["N", 3])], [], {})
    kind = onnx.helper.make_sequence_type_proto(
        onnx.helper.make_map_type_proto(
            TensorProto.INT64, onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    model.graph.output.append(onnx.helper.make_value_info("out", kind))
    with pytest.raises(ImportFault, match=r"no tensor but a sequence.*'zipmap': False"):
        read_model(save(model, tmp_path / "a.onnx"))


def test_weights_in_a_file_beside_the_model_are_read_in(tmp_path: Path) -> None:
    model = make_linear()
    onnx.save_model(
        model, tmp_path / "a.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    found = read_model(tmp_path / "a.onnx")
    assert found.proto.graph.initializer[0].data_location == TensorProto.DEFAULT
    rows = np.ones((2, 8), np.float32)
    (expected,) = open_graph(make_linear()).run({"features": rows})
    (given,) = found.graph.run({"features": rows})
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def _branching() -> onnx.ModelProto:
    """A linear model whose bias is a Constant inside both branches of an If."""
    model = make_linear()
    bias = model.graph.initializer[1]
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Constant", [], [name], value=bias)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["way"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["way"], ["bias"], **branches),
        helper.make_node("Gemm", ["features", "w", "bias"], ["logits"]),
    ]
    del model.graph.node[:], model.graph.initializer[1:]
    model.graph.node.extend(nodes)
    return model


def _constant() -> onnx.ModelProto:
    """A linear model whose bias is a Constant."""
    model = make_linear()
    bias = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["b"], value=bias))
    return model


@pytest.mark.parametrize("model", [_constant(), _branching()], ids=["constant", "branch"])
@pytest.mark.parametrize("fault", ["", "missing", "cut", "elsewhere"])
def test_constants_in_files_beside_the_model_are_read_in_or_named(
    model: onnx.ModelProto, fault: str, tmp_path: Path
) -> None:
    rows = np.ones((2, 8), np.float32)
    (expected,) = open_graph(make_linear()).run({"features": rows})
    place = tmp_path / "a.onnx"
    onnx.save_model(
        copy_model(model),  # saving empties the weights
        place,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    assert b"w.bin" in place.read_bytes()
    if not fault:
        (given,) = read_model(place).graph.run({"features": rows})
        np.testing.assert_allclose(given, expected, rtol=1e-5)
        return
    if fault == "missing":
        (tmp_path / "w.bin").unlink()
    elif fault == "cut":
        (tmp_path / "w.bin").write_bytes(b"")
    else:
        place.write_bytes(place.read_bytes().replace(b"w.bin", b"/w.bi"))
    words = {"missing": "not beside it", "cut": "incomplete", "elsewhere": "outside the model's"}
    with pytest.raises(ImportFault, match=words[fault]):
        read_model(place)


def test_a_constant_of_nan_is_named(tmp_path: Path) -> None:
    model = _constant()
    poison = numpy_helper.from_array(np.full(3, np.nan, np.float32), "b")
    model.graph.node[0].attribute[0].t.CopyFrom(poison)
    with pytest.raises(ImportFault, match="weight b holds NaN"):
        read_model(save(model, tmp_path / "a.onnx"))
