"""When does converting win? A deployed classifier that may not change, and corrupted pictures.

Six ways to live with that, each a net of its own in the folder `frozen` of a seed, made by
`train_frozen`: do nothing, convert (CBNet's way: to an easy picture of the class), convert so that
the classifier is right, only clean (to the picture as it was), clean so that the classifier is
right, and, against the ban, retrain.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.compare.measuring.accuracy import BATCH_ROWS
from benchmarks.compare.measuring.candidates import seed_folder
from benchmarks.compare.measuring.robust import Trials
from core.devices import open_onnx
from harness.load.traffic import Labels, Pictures
from harness.results import Sample
from training.data.sets import DataSet

AS_IT_IS, CONVERTED, GUIDED, CLEANED, GUIDED_CLEANED, RETRAINED = (
    "frozen, as it is", "frozen, converted", "frozen, guided", "frozen, cleaned",
    "frozen, cleaned and guided", "retrained",
)  # fmt: skip
VARIANTS: Mapping[str, str] = {
    AS_IT_IS: "the frozen classifier alone",
    CONVERTED: "converted to an easy picture of the class, then the frozen classifier",
    GUIDED: "the same, the autoencoder trained with the frozen classifier's loss too",
    CLEANED: "cleaned by an autoencoder of the same size, then the frozen classifier",
    GUIDED_CLEANED: "cleaned, the autoencoder trained with the frozen classifier's loss too",
    RETRAINED: "the same classifier retrained on corrupted pictures (not allowed)",
}


def frozen_file(runs: Path, data: str, seed: int, variant: str) -> Path:
    """Its net; what it costs stands in a `.json` beside it."""
    return seed_folder(runs, data, seed) / "frozen" / f"{variant.replace(', ', '-')}.onnx"


def is_trained(runs: Path, data: str, seed: int) -> bool:
    """Whether the seed's nets are all there; the comparison can do without them."""
    places = [frozen_file(runs, data, seed, variant) for variant in VARIANTS]
    return all(place.exists() and place.with_suffix(".json").exists() for place in places)


def measure_frozen(
    runs: Path, data: DataSet, seed: int, variant: str, trials: Trials
) -> Iterator[Sample]:
    """Accuracy on clean and on corrupted pictures."""
    path = frozen_file(runs, data.name, seed, variant)
    facts = {
        "accuracy": _share_right(path, data.test.pictures, data.test.labels),
        "macs": float(json.loads(path.with_suffix(".json").read_text())["macs"]),
    }
    for name, pictures in trials.corrupted.items():
        facts[f"corrupt_{name}"] = _share_right(path, pictures, trials.labels)
    for metric, value in facts.items():
        yield Sample(variant, seed, metric, value)


def _share_right(path: Path, pictures: Pictures, labels: Labels) -> float:
    session = open_onnx(path)
    answers = [
        session.run(["logits"], {"image": pictures[at : at + BATCH_ROWS]})[0].argmax(axis=1)
        for at in range(0, len(pictures), BATCH_ROWS)
    ]
    return float((np.concatenate(answers) == labels).mean())
