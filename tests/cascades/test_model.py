"""A single model with outputs of its own: what its manifest may declare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from harness.tiny_routes import make_pictures
from routes.loading import load_route
from routes.offline import run_offline
from tests.fakes.tiny_kinds import write_model

DEVICE = OnnxDevice()


def test_its_answer_is_the_models_output(tmp_path: Path) -> None:
    directory = write_model(tmp_path)
    loaded = load_route(directory, DEVICE)
    pictures = make_pictures(5)
    (expected,) = DEVICE.open(directory / "stage0.onnx").run(["logits"], {"image": pictures})
    rows = run_offline(loaded.pipeline, {"image": pictures}, DEVICE)
    np.testing.assert_array_equal(
        [row.outcome.outputs["logits"] for row in rows if row.outcome], expected
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "outputs",
            [{"name": "boxes", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs are .*logits.*; the route declares .*boxes",
        ),
        ("options", {"score": "entropy"}, r"options: \['score'\] given, none"),
    ],
)
def test_what_does_not_fit_is_refused(key: str, value: Any, words: str, tmp_path: Path) -> None:
    directory = write_model(tmp_path, change=lambda table: table.update({key: value}))
    with pytest.raises(ModelDirectoryError, match=words):
        load_route(directory, DEVICE)
