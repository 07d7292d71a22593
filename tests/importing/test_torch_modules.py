"""Torch modules are exported with a free batch, checked, and imported like files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.reading import read_model
from importing.options import ImportOptions, Stage
from importing.route import import_route
from importing.torch_modules import export_module


def _make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def test_the_file_has_a_free_batch_and_answers_as_torch(tmp_path: Path) -> None:
    net = _make_net()
    found = read_model(export_module(net, torch.zeros(1, 8), tmp_path / "net.onnx"))
    assert found.graph.inputs[0].shape == (-1, 8)
    rows = torch.randn(5, 8)
    (given,) = found.graph.run({"input_0": rows.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(given, net.eval()(rows).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("example", [None, 3, ()])
def test_an_example_that_is_no_tensor_is_refused(example: object, tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match="a module needs an example"):
        export_module(_make_net(), example, tmp_path / "net.onnx")


def test_a_module_that_cannot_run_its_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match="torch cannot export it"):
        export_module(_make_net(), torch.zeros(1, 9), tmp_path / "net.onnx")


def test_a_module_is_imported_as_a_stage(tmp_path: Path) -> None:
    net = _make_net()
    rows = torch.randn(200, 8)
    with torch.no_grad():
        labels = net.eval()(rows).argmax(dim=1)
    stage = Stage(net, name="net", example=rows[:1])
    options = ImportOptions(out=tmp_path / "models", compress="none")
    imported = import_route("own", [stage], (rows.numpy(), labels.numpy()), options)
    assert imported.directory is not None
    assert imported.verdict is not None
    assert imported.verdict.chosen.accuracy == 1.0
