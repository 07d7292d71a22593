"""A reply's tensors: rows stacked, explanations with their datatypes."""

import numpy as np
import pytest

from core.errors import InvalidInput, StageFailed
from serving.oip.outputs import EXPLANATIONS, output_tensors, response_parameters, select_outputs
from tests.serving.small_engine import make_answer, make_manifest, make_reply


def test_without_names_the_declared_outputs_are_selected() -> None:
    assert select_outputs(make_manifest(), []) == ["label", "probabilities"]
    assert select_outputs(make_manifest(), ["macs", "label"]) == ["macs", "label"]


def test_an_output_on_request_is_sent_only_where_it_is_named() -> None:
    outputs = [one.model_dump() for one in make_manifest().outputs]
    further = {"name": "learners", "datatype": "FP32", "shape": [-1, 2], "on_request": True}
    manifest = make_manifest(outputs=[*outputs, further])
    assert select_outputs(manifest, []) == ["label", "probabilities"]
    assert select_outputs(manifest, ["learners"]) == ["learners"]


@pytest.mark.parametrize("names", [["nothing"], [None], [["label"]], ["label", "label"]])
def test_unknown_and_repeated_outputs_are_refused(names: list[object]) -> None:
    with pytest.raises(InvalidInput, match="outputs: given"):
        select_outputs(make_manifest(), names)


@pytest.mark.parametrize("rows", [1, 3])
def test_outputs_have_a_leading_dimension_of_rows(rows: int) -> None:
    reply = make_reply(*[make_answer()] * rows)
    label, probabilities = output_tensors(reply, make_manifest(), ["label", "probabilities"])
    assert (label.datatype, label.array.dtype.name, label.array.shape) == (
        "INT64",
        "int64",
        (rows,),
    )
    assert (probabilities.datatype, probabilities.array.shape) == ("FP32", (rows, 2))
    assert probabilities.array[-1].tolist() == [0.25, 0.75]


def test_explanations_have_their_datatypes() -> None:
    reply = make_reply(make_answer(), make_answer(energy_mj=1.5))
    found = {
        tensor.name: (tensor.datatype, tensor.array.tolist())
        for tensor in output_tensors(reply, make_manifest(), list(EXPLANATIONS))
    }
    assert np.isnan(found["energy_mj"][1][0])
    found["energy_mj"] = ("FP32", found["energy_mj"][1][1:])
    assert found == {
        "confidence": ("FP32", [0.75, 0.75]),
        "exit": ("BYTES", [b"shade", b"shade"]),
        "stopped_by": ("BYTES", [b"confidence", b"confidence"]),
        "cached": ("BOOL", [False, False]),
        "macs": ("INT64", [7, 7]),
        "energy_mj": ("FP32", [1.5]),
        "latency_ms": ("FP32", [2.0, 2.0]),
    }


def test_a_stage_of_another_precision_is_brought_to_the_declared_datatype() -> None:
    answer = make_answer({"label": np.int32(1), "probabilities": np.array([0.5, 0.5])})
    tensors = output_tensors(make_reply(answer), make_manifest(), ["label", "probabilities"])
    assert [tensor.array.dtype for tensor in tensors] == [np.int64, np.float32]


def test_rows_of_different_sizes_are_refused_and_a_missing_output_is_the_stages_fault() -> None:
    short = make_answer({"probabilities": np.ones(1, np.float32)})
    with pytest.raises(InvalidInput, match=r"outputs\.probabilities: its size differs"):
        output_tensors(make_reply(make_answer(), short), make_manifest(), ["probabilities"])
    with pytest.raises(StageFailed, match="'label'"):
        output_tensors(make_reply(short), make_manifest(), ["label"])


def test_a_response_says_who_answered() -> None:
    assert response_parameters(make_reply()) == {
        "route": "small",
        "version": "1",
        "digest": "ab" * 32,
        "energy_source": "none",
        "certificate": "none",
    }
