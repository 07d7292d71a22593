"""Faults of models, data and options that stop an import: one sentence, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from importing.onnx_files.faults import ImportFault
from importing.options import ImportOptions, Stage, read_stage
from importing.route import import_route
from tests.fakes.own_models import (
    STEPS,
    Rows,
    import_own,
    make_finder,
    make_linear,
    make_model,
    make_picture_net,
    make_pictures,
    make_text,
    save,
)

ROWS = 400


@pytest.fixture(scope="module")
def pictures() -> Rows:
    return make_pictures(ROWS)


def _shuffle(rows: Rows) -> Rows:
    return rows[0], (rows[1] + 1) % 3


def _guess(rows: Rows) -> Rows:
    return rows[0], np.random.default_rng(0).permutation(rows[1])


ONE, TWO = make_picture_net(width=8), make_picture_net(end="Softmax")
FAULTS: dict[str, tuple[list[onnx.ModelProto], Callable[[Rows], Rows], dict[str, Any], str]] = {
    "order of labels": ([ONE], _shuffle, {}, "the labels have another order than the model"),
    "guessing": ([ONE], _guess, {}, "always naming one class gives"),
    "softmax as logits": (
        [TWO],
        lambda rows: rows,
        {"activation": "logits"},
        "holds probabilities, not logits; use --activation softmax",
    ),
    "order of channels": (
        [ONE],
        lambda rows: rows,
        {"preprocess": f"{STEPS},color=BGR"},
        "another order than the model|always naming one class",
    ),
    "size": ([ONE], lambda rows: rows, {"preprocess": "crop=8"}, "makes 8×8 pixels, input input"),
    "classes": (
        [make_linear(768, 4, name="x")],
        lambda rows: ((rows[0] / 255).reshape(ROWS, -1).astype(np.float32), rows[1]),
        {"preprocess": "none"},
        "no row of class 3",
    ),
    "features": (
        [make_linear(9)],
        lambda rows: ((rows[0] / 255).reshape(ROWS, -1).astype(np.float32), rows[1]),
        {},
        r"rows are \[400, 768\], the model takes features FP32 \[-1, 9\]",
    ),
    "two shapes": (
        [make_linear(8), make_linear(9)],
        lambda rows: (rows[0].reshape(ROWS, -1)[:, :8].astype(np.float32), rows[1]),
        {},
        "takes features FP32",
    ),
    "class counts": (
        [make_linear(8, 3), make_linear(8, 4)],
        lambda rows: (rows[0].reshape(ROWS, -1)[:, :8].astype(np.float32), rows[1]),
        {},
        "has 4 classes, .*stage0.onnx has 3",
    ),
    "words": (
        [make_text()],
        lambda rows: (np.full((ROWS, 4), 77) + np.arange(ROWS)[:, None], rows[1]),
        {},
        "input_ids holds 77 to 476, the models take 0 to 49",
    ),
    "several models without classes": (
        [make_linear(8, 2), make_linear(8, 2)],
        lambda rows: (
            rows[0].reshape(ROWS, -1)[:, :8].astype(np.float32),
            rows[0].mean(axis=(1, 2, 3)),
        ),
        {},
        "is no classifier of these labels",
    ),
    "reference": ([ONE], lambda rows: rows, {"reference": "big"}, "allowed are last, stage0"),
    "compression": ([ONE], lambda rows: rows, {"compress": "int4"}, "allowed are auto, int8, none"),
    "int8 of a model without products": (
        [make_model(
            [helper.make_node("Identity", ["features"], ["logits"])],
            [("features", TensorProto.FLOAT, ["N", 3])],
            [("logits", TensorProto.FLOAT, ["N", 3])],
            {},
        )],
        lambda rows: (rows[0].mean(axis=(1, 2)).astype(np.float32), rows[1]),
        {"compress": "int8"},
        r"there is no int8 file \(stage0: has no operator that int8 makes faster\); use --compress "
        "auto",
    ),
    "int8 that may lose more": (
        [ONE],
        lambda rows: rows,
        {"compress": "int8", "max_loss": 0.0},
        "--compress int8: at least .* points may be lost, .* allow more with --max-loss, or use",
    ),
    "outputs without rows": (
        [make_finder(rows=False)],
        lambda rows: (
            rows[0].reshape(ROWS, -1)[:, :8].astype(np.float32) - 100,
            rows[0].mean(axis=(1, 2, 3)),
        ),
        {},
        r"output found of one row is \[\d+\], and its first dimension must count rows; export",
    ),
    "activation": ([ONE], lambda rows: rows, {"activation": "relu"}, "allowed are auto, logits"),
    "loss": ([ONE], lambda rows: rows, {"max_loss": 2.0}, "0 to 1 are allowed"),
    "names": ([ONE], lambda rows: rows, {"labels": ("a", "b")}, "2 classes, but the model has 3"),
    "pictures of floats": (
        [ONE],
        lambda rows: (rows[0].astype(np.float32), rows[1]),
        {},
        "pictures are uint8, and tensors take --preprocess none",
    ),
    "repeated rows": (
        [ONE],
        lambda rows: (np.concatenate([rows[0][:200]] * 2), np.concatenate([rows[1][:200]] * 2)),
        {},
        "200 of 400 rows are repeated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_in_one_sentence_and_nothing_is_written(
    case: str, tmp_path: Path, pictures: Rows
) -> None:
    models, change, changes, words = FAULTS[case]
    stages = [
        Stage(save(model, tmp_path / f"stage{place}.onnx")) for place, model in enumerate(models)
    ]
    with pytest.raises(ImportFault, match=words) as raised:
        import_own(tmp_path, stages, change(pictures), **changes)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "stages", "words"),
    [
        ("../own", ["a.onnx"], "NAME: given '../own'"),
        ("own", [], "0 given, 1 to 3 are allowed"),
        ("own", ["a.onnx", "b/a.onnx"], "two stages are called 'a'"),
        ("own", ["a.onnx,size=3"], "given 'size=3', allowed are name, preprocess"),
        ("own", ["nowhere.onnx"], "No such file"),
        ("own", ["net.onnx", "net-int8.onnx"], "'net-int8', as the int8 file of 'net' is"),
    ],
)
def test_wrong_names_and_stages_are_refused(
    name: str, stages: list[str], words: str, tmp_path: Path, pictures: Rows
) -> None:
    with pytest.raises(ImportFault, match=words):
        import_route(
            name,
            [read_stage(text) for text in stages],
            pictures,
            ImportOptions(out=tmp_path / "models"),
        )


def test_a_stage_is_read_with_its_parts() -> None:
    stage = read_stage("a.onnx,name=small,preprocess=mean=0.5;std=0.5,output=probs")
    assert stage == Stage(Path("a.onnx"), "small", "mean=0.5;std=0.5", output="probs")
