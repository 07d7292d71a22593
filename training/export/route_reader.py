"""A route directory read back as the draft it was written from."""

import json
import tomllib
from pathlib import Path

from core.manifest import read_manifest
from training.export.route_writer import RouteDraft, StageFiles


def read_draft(route: Path) -> RouteDraft:
    """What the directory says, its files verified; provenance as it is."""
    manifest = read_manifest(route)
    provenance = tomllib.loads((route / "route.toml").read_text())["provenance"]
    assert manifest.picture is not None, "our recipes write picture classifiers"
    return RouteDraft(
        route=manifest.route,
        task=manifest.task,
        pipeline=manifest.pipeline,
        description=manifest.description,
        expected_macs=manifest.expected_macs,
        shape=manifest.inputs[0].shape[1:],
        labels=manifest.labels,
        stages=[
            StageFiles(
                stage.name,
                route / stage.file,
                json.loads((route / f"{stage.name}.json").read_text()),
                stage.macs,
                stage.temperature,
                stage.threshold,
                stage.max_batch,
            )
            for stage in manifest.stages
        ],
        options=manifest.options,
        provenance=provenance,
    )
