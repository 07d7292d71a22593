"""The pictures that routes are measured with: the full test set, else the committed pictures."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from harness.load.traffic import Labels, Pictures
from training.data.sets import load_data

COMMITTED = (Path("docs"), Path("tests"))


def load_pictures(size: int = 28) -> tuple[Pictures, Labels | None]:
    """Fashion-MNIST's test set with its labels if SPARING_DATA is set.

    Else every committed grey PNG of that size, without labels. FileNotFoundError if there is none.
    """
    if os.environ.get("SPARING_DATA"):
        test = load_data("fashion-mnist").test
        return test.pictures, test.labels
    found = []
    for path in sorted(path for folder in COMMITTED for path in folder.rglob("*.png")):
        with Image.open(path) as picture:
            if picture.size == (size, size) and picture.mode == "L":
                found.append(np.asarray(picture))
    if not found:
        raise FileNotFoundError(
            f"no grey {size}x{size} PNG in {[str(path) for path in COMMITTED]}; set SPARING_DATA"
        )
    return np.stack(found), None
