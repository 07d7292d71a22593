"""When does converting win? A deployed classifier that may not change, and corrupted pictures.

Six ways to live with that, each a net of its own in the folder `frozen` of a seed, made by
`train_frozen`: do nothing, convert (CBNet's way: to an easy picture of the class), convert so that
the classifier is right, only clean (to the picture as it was), clean so that the classifier is
right, and, against the ban, retrain.
"""

from collections.abc import Mapping
from pathlib import Path

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


def frozen_file(folder: Path, variant: str) -> Path:
    """Its net in the folder of a seed; what it costs stands in a `.json` beside it."""
    return folder / "frozen" / f"{variant.replace(', ', '-')}.onnx"


def is_trained(folder: Path) -> bool:
    """Whether the seed's nets are all there; the comparison can do without them."""
    places = [frozen_file(folder, variant) for variant in VARIANTS]
    return all(place.exists() and place.with_suffix(".json").exists() for place in places)
