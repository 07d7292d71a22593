"""The full model is the last stage, or the whole net where stages are its parts."""

from pathlib import Path

import pytest

from core.manifest import read_manifest
from harness.tiny_routes import write_route
from routes.table import PIPELINES, SEGMENTED, count_full_macs


@pytest.mark.parametrize("kind", PIPELINES)
def test_full_macs(kind: str, tmp_path: Path) -> None:
    manifest = read_manifest(write_route(tmp_path, stages=3, pipeline=kind))
    macs = [stage.macs for stage in manifest.stages]
    assert count_full_macs(manifest) == (sum(macs) if kind in SEGMENTED else macs[-1])


def test_segmented_kinds_exist() -> None:
    assert set(PIPELINES) >= SEGMENTED
