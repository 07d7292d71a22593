"""Several labels at once: a cascade of nets that give every label a probability of its own.

The stages are those of `cascades.dual_cnn`. A label's probability is the sigmoid of its logit, and
a label holds where that reaches the label's threshold. A row stops if the probability that its
whole answer is right (`core.classifiers.label_sets`) reaches the stage's threshold. One stage is a
single model.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascades.answer_kinds import several_labels
from cascades.dual_cnn import CascadeStage, open_stages
from core.classifiers.classifier import Classifier
from core.classifiers.route import read_classifier
from core.devices.interface import Device

Threshold = Annotated[float, Field(gt=0, le=1)]


class Options(BaseModel):
    """`[options]` of the route."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["joint"] = "joint"
    combine: Literal["post_check", "last", "average"] = "last"
    label_thresholds: tuple[Threshold, ...] | None = None  # one a label; None: 0.5 for every label


def build(directory: Path, device: Device) -> Classifier[CascadeStage]:
    """Open every stage's net. Raises ModelDirectoryError, which names the directory and fault."""
    route = read_classifier(directory, device, several=True)
    route.check_stage_count(1)
    options = route.read_options(Options)
    given = options.label_thresholds
    if given is not None and len(given) != route.classes:
        raise route.make_error(
            f"options.label_thresholds: given {len(given)}, declared are {route.classes} labels"
        )
    return open_stages(route, several_labels(given), options.score, options.combine)
