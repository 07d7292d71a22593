"""Imports with several labels at once: the cascade, the verdict's measure, notes and faults."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from core.devices.onnx import OnnxDevice
from importing.label_sets import check_label_answers
from importing.onnx_files.faults import ImportFault
from importing.options import Stage
from routes.loading import load_route
from routes.offline import run_offline
from tests.fakes.own_models import (
    Rows,
    import_own,
    make_label_net,
    make_label_pictures,
    make_linear,
    save,
)

ROWS = 400


@pytest.fixture(scope="module")
def data() -> Rows:
    return make_label_pictures(ROWS)


def test_two_nets_become_a_cascade_of_label_sets(tmp_path: Path, data: Rows) -> None:
    stages = [
        Stage(save(make_label_net(noise=0.6, seed=3), tmp_path / "small.onnx")),
        Stage(save(make_label_net(width=48), tmp_path / "large.onnx")),
    ]
    imported = import_own(tmp_path, stages, data, max_loss=0.1)
    assert imported.directory is not None and imported.verdict is not None
    assert imported.verdict.chosen.members == ("small", "large")
    assert imported.verdict.as_json()["measure"] == "F1"
    assert "a mean F1 of " in imported.sentence and "the F1 differs by" in imported.sentence
    assert any("of all labels are right with the choice" in note for note in imported.notes)
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    assert loaded.manifest.pipeline == "multi-label"
    rows = run_offline(loaded.pipeline, {"image": data[0]}, device)
    assert {row.stages for row in rows} == {("small",), ("small", "large")}
    found = np.array([row.outcome.outputs["labels"] for row in rows if row.outcome])
    assert (found == data[1]).mean() > 0.9


def test_an_int8_twin_is_graded_by_its_labels(tmp_path: Path, data: Rows) -> None:
    stage = Stage(save(make_label_net(width=16), tmp_path / "net.onnx"))
    imported = import_own(tmp_path, [stage], data, compress="auto", dry_run=True)
    assert imported.verdict is not None
    float32, int8 = imported.verdict.rows
    assert float32.accuracy > 0.99
    assert int8.accuracy > 0.9


def test_data_that_may_be_meant_otherwise_is_told(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    labels = np.eye(4, dtype=np.int64)[rows[:, :3].argmax(axis=1)]
    model = make_linear(8, 4)
    weight = np.zeros((8, 4), np.float32)
    weight[:3, :3] = 8 * np.eye(3) - 4
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    bias = np.array([0, 0, 0, -9], np.float32)
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(bias, "b"))
    stage = Stage(save(model, tmp_path / "net.onnx"))
    imported = import_own(tmp_path, [stage], (rows, labels), preprocess="auto", dry_run=True)
    assert "labels that no row of the data has: 3" in imported.notes
    assert any("every row has exactly one label" in note for note in imported.notes)


def _shuffle(rows: Rows) -> Rows:
    return rows[0], rows[1][:, [1, 2, 0]]


FAULTS: dict[str, tuple[onnx.ModelProto, Callable[[Rows], Rows], dict[str, object], str]] = {
    "order of labels": (make_label_net(), _shuffle, {}, "another order than the model: its label"),
    "guessing": (
        make_label_net(),
        lambda rows: (rows[0], np.random.default_rng(0).permutation(rows[1])),
        {},
        "always naming the same labels gives",
    ),
    "as logits": (
        make_label_net(),
        lambda rows: rows,
        {"activation": "logits"},
        "holds probabilities, not logits; use --activation sigmoid",
    ),
    "count": (
        make_label_net(),
        lambda rows: (rows[0], np.concatenate([rows[1], rows[1]], axis=1)),
        {},
        "gives 3 numbers a row, --data the given rows has 6 labels",
    ),
    "names": (make_label_net(), lambda rows: rows, {"labels": ("a", "b")}, "2 names for 3 labels"),
    "one set": (
        make_label_net(),
        lambda rows: (rows[0], np.ones_like(rows[1])),
        {},
        "all rows have the same labels",
    ),
    "auto": (make_label_net(), lambda rows: rows, {"preprocess": "auto"}, "needs one class a row"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_in_one_sentence_and_nothing_is_written(
    case: str, tmp_path: Path, data: Rows
) -> None:
    model, change, changes, words = FAULTS[case]
    stage = Stage(save(model, tmp_path / "net.onnx"))
    with pytest.raises(ImportFault, match=words) as raised:
        import_own(tmp_path, [stage], change(data), **changes)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "models").exists()


def test_a_label_that_always_holds_is_no_fault(data: Rows) -> None:
    labels = data[1].copy()
    labels[:, 0] = 1
    check_label_answers((labels - 0.5).astype(np.float32), labels, "net.onnx")
