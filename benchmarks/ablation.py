"""The gated converter without its converter: the control that tells what converting adds there.

Made of the gated route's own files: the same light net with the same threshold, then the same full
net. Nothing is trained, and nothing chosen anew.
"""

from dataclasses import replace
from pathlib import Path

from benchmarks.compare_robust import CONVERT, GATED
from benchmarks.contestants import UNCONVERTED, seed_folder
from benchmarks.stage_time import open_route
from training.route_reader import read_draft
from training.route_writer import write_route


def write_unconverted(runs: Path, data: str, seed: int) -> Path:
    """The route's directory; kept where it is of this gated route already. Raises FileNotFoundError
    where that was not trained.
    """
    models = seed_folder(runs, data, seed) / "models"
    gated = open_route(models, f"{data}-{GATED}").manifest
    name = f"{data}-{UNCONVERTED}"
    if (models / name).is_dir():
        kept = open_route(models, name).manifest
        if kept.provenance.get("of") == gated.digest.hex():
            return models / name / kept.version
    draft = read_draft(models / gated.route / gated.version)
    stages = [*draft.stages[:CONVERT], *draft.stages[CONVERT + 1 :]]
    return write_route(
        models,
        replace(
            draft,
            expected_macs=float(sum(stage.macs for stage in stages)),  # at most
            route=name,
            pipeline="dual-cnn",
            description=f"{data}: the gated converter's nets without the converter.",
            stages=stages,
            options={"score": draft.options["score"], "combine": "last"},
            provenance={"recipe": "benchmarks.ablation", "of": gated.digest.hex()},
        ),
    )
