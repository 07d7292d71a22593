"""The net of the benchmark of large rows can be served."""

from pathlib import Path

from benchmarks.serving.large_rows import FULL_BATCH, write_models
from core.devices.onnx import OnnxDevice
from routes.loading import load_route


def test_the_route_loads(tmp_path: Path) -> None:
    net = write_models(tmp_path)
    loaded = load_route(net.parent, OnnxDevice())
    assert loaded.manifest.stages[0].max_batch == FULL_BATCH
