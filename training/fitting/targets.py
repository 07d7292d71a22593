"""The target of each picture's conversion: an easy picture of its class.

`random`: another easy picture of the class each time (CBNet, arXiv 2403.07036). `prototype`: always
the class's easiest picture (CBNet's released code). `clusters`: k-means groups the class's easy
pictures, and a picture's target is the middle one of its nearest group (after EncodeNet, arXiv
2404.13770).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["random", "prototype", "clusters"]
Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

GROUPS = 4
K_MEANS_STEPS = 20


@dataclass(frozen=True, slots=True)
class Targets:
    """The pictures that conversions aim at."""

    kind: Kind
    pictures: Pictures  # [M, H, W], all that may be a target
    choices: tuple[npt.NDArray[np.int64], ...]  # by class, its places in `pictures`
    own: npt.NDArray[np.int64] | None  # [N] each training row's place; None: drawn each time
    references: Floats  # [R, H, W] in [0, 1]: a conversion far from all of them has failed

    def draw(self, rows: Labels, labels: Labels, rng: np.random.Generator) -> Pictures:
        """The targets of these training rows, whose labels are given."""
        if self.own is not None:
            return self.pictures[self.own[rows]]
        places = np.empty(len(rows), np.int64)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            places[of_class] = rng.choice(self.choices[label], len(of_class))
        return self.pictures[places]


def choose_targets(
    kind: Kind,
    pictures: Pictures,
    labels: Labels,
    easy: npt.NDArray[np.bool_],
    nats: npt.NDArray[np.float64],
    *,
    classes: int,
    seed: int,
    groups: int = GROUPS,
) -> Targets:
    """Targets for these training pictures; the easiest has the lowest entropy, `nats`. Raises
    ValueError in one sentence for data that cannot be converted.
    """
    _check(pictures, labels, easy, classes)
    easy_rows = [np.flatnonzero(easy & (labels == label)) for label in range(classes)]
    if kind == "random":
        places = np.concatenate(easy_rows)
        ends = np.cumsum([len(rows) for rows in easy_rows])[:-1]
        means = np.stack([pictures[rows].mean(axis=0) / 255.0 for rows in easy_rows])
        choices = tuple(np.split(np.arange(len(places)), ends))
        return Targets(kind, pictures[places], choices, None, means.astype(np.float32))
    if kind == "prototype":
        middles = [rows[[nats[rows].argmin()]] for rows in easy_rows]
    else:
        rng = np.random.default_rng([seed, 77])
        middles = [find_middles(pictures, rows, groups, rng) for rows in easy_rows]
    places = np.concatenate(middles)
    ends = np.cumsum([len(rows) for rows in middles])
    choices = tuple(np.split(np.arange(len(places)), ends[:-1]))
    targets = pictures[places]
    own = _nearest(pictures, labels, targets, choices)
    return Targets(kind, targets, choices, own, targets.astype(np.float32) / 255.0)


def find_middles(
    pictures: Pictures, rows: npt.NDArray[np.int64], groups: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The rows nearest to the centres that k-means finds in the pictures of `rows`; fewer than
    `groups` where two centres share a picture or there are not as many.
    """
    x = pictures[rows].reshape(len(rows), -1).astype(np.float32) / 255.0
    centres = x[rng.choice(len(x), min(groups, len(x)), replace=False)]
    for _ in range(K_MEANS_STEPS):
        nearest = _distances(x, centres).argmin(axis=1)
        centres = np.stack(
            [
                x[nearest == group].mean(axis=0) if (nearest == group).any() else centre
                for group, centre in enumerate(centres)
            ]
        )
    middles: npt.NDArray[np.int64] = rows[np.unique(_distances(x, centres).argmin(axis=0))]
    return middles


def _nearest(
    pictures: Pictures,
    labels: Labels,
    targets: Pictures,
    choices: tuple[npt.NDArray[np.int64], ...],
) -> npt.NDArray[np.int64]:
    """Each picture's nearest target of its class."""
    own = np.empty(len(labels), np.int64)
    for label, places in enumerate(choices):
        rows = np.flatnonzero(labels == label)
        x = pictures[rows].reshape(len(rows), -1).astype(np.float32) / 255.0
        goals = targets[places].reshape(len(places), -1).astype(np.float32) / 255.0
        own[rows] = places[_distances(x, goals).argmin(axis=1)]
    return own


def _distances(x: Floats, centres: Floats) -> Floats:
    """Squared distances [N, M]."""
    squares = (x**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    distances: Floats = squares - 2.0 * x @ centres.T
    return distances


def _check(pictures: Pictures, labels: Labels, easy: npt.NDArray[np.bool_], classes: int) -> None:
    if pictures.ndim != 3:
        raise ValueError(
            f"pictures are {list(pictures.shape)}, a converter takes grey ones, [N, H, W]"
        )
    found = np.unique(labels)
    if len(found) < 2:
        raise ValueError(f"all pictures are of class {found.tolist()}, at least 2 are needed")
    for label in range(classes):
        if not (easy & (labels == label)).any():
            raise ValueError(
                f"class {label} has no easy picture to convert to: train the exits longer"
            )
