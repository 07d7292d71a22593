"""The benchmark's own route: valid, of the declared cost, and answering."""

from pathlib import Path

import numpy as np

from benchmarks.serving.onnx_time import measure_onnx
from harness import small_cnn
from harness.stage_time import open_route, run_stages
from training.export.cost import count_macs

PICTURES = np.random.default_rng(1).integers(0, 256, (70, 28, 28), dtype=np.uint8)


def test_the_route_loads_and_labels_every_picture(tmp_path: Path) -> None:
    small_cnn.write_small_cnn(tmp_path)
    pipeline = open_route(tmp_path, small_cnn.ROUTE).pipeline
    found = run_stages(pipeline, PICTURES, 32)
    assert found.rows == {"stage0": 70}
    assert set(found.labels) <= set(range(10))
    assert len(set(found.labels)) > 1  # a check of labels can fail


def test_the_declared_macs_are_what_the_graph_executes(tmp_path: Path) -> None:
    directory = small_cnn.write_small_cnn(tmp_path)
    assert count_macs(directory / small_cnn.FILE) == small_cnn.MACS
    assert 300_000 <= small_cnn.MACS <= 1_000_000


def test_the_same_seed_makes_the_same_route(tmp_path: Path) -> None:
    one = small_cnn.write_small_cnn(tmp_path / "one")
    two = small_cnn.write_small_cnn(tmp_path / "two")
    other = small_cnn.write_small_cnn(tmp_path / "other", seed=1)
    raw = (one / "route.toml").read_bytes()
    assert raw == (two / "route.toml").read_bytes() != (other / "route.toml").read_bytes()


def test_its_bare_cost_is_measured_for_each_batch_size(tmp_path: Path) -> None:
    directory = small_cnn.write_small_cnn(tmp_path)
    found = measure_onnx(directory / small_cnn.FILE, (1, 4), seconds=0.01)
    assert list(found) == [1, 4]
    assert all(0 < numbers["p50_ms"] < 1000 for numbers in found.values())
