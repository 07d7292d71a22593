"""Offline runs in batches: the answers of the obvious row-by-row run, and honest sums."""

from pathlib import Path

import pytest

from core.devices.onnx import OnnxDevice
from harness.stage_time import open_route, run_stages
from harness.tiny_routes import make_pictures, write_route
from routes.offline import run_offline

PICTURES = make_pictures(50)


@pytest.mark.parametrize("batch_rows", [1, 7, 64])
def test_batches_answer_and_cost_what_single_rows_do(tmp_path: Path, batch_rows: int) -> None:
    write_route(tmp_path, stages=3)
    pipeline = open_route(tmp_path, "tiny").pipeline
    found = run_stages(pipeline, PICTURES, batch_rows)
    rows = run_offline(pipeline, {"image": PICTURES}, OnnxDevice())
    labels = [row.outcome and int(row.outcome.outputs["label"]) for row in rows]
    assert found.labels.tolist() == labels
    assert sum(found.macs.values()) == sum(row.macs for row in rows)
    assert found.rows["stage0"] == 50
    assert 0 < found.rows["stage2"] < found.rows["stage1"] < 50
    assert set(found.device_s) == {"stage0", "stage1", "stage2"}


def test_the_newest_version_is_opened(tmp_path: Path) -> None:
    for version in ("1", "10", "9"):
        write_route(tmp_path, version=version)
    assert open_route(tmp_path, "tiny").manifest.version == "10"


def test_a_missing_route_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no route nowhere"):
        open_route(tmp_path, "nowhere")
