"""What is compared: fourteen networks and cascades, all trained under one budget.

`studies.converters` builds and trains them; here are their names, what a reader is told of them,
and where their newest versions lie.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.messages import Pipeline
from harness.stage_time import open_route
from routes.loading import LoadedRoute

BASELINE = "lenet"
CONVERTERS = ("cbnet", "cbnet-dense", "cbnet-gated", "encoder-only")
CANDIDATES: Mapping[str, str] = {
    "lenet": "LeNet, the whole net for every picture",
    "branchynet": "BranchyNet: LeNet with an early exit",
    "truncated": "LeNet's first convolution and the early exit alone",
    "mlp": "a plain MLP of the MACs of `cbnet-dense`",
    "light": "a light CNN made for this runtime",
    "light-distilled": "the same, distilled",
    "small": "a small CNN",
    "cbnet": "CBNet's way: every picture converted, then the distilled light CNN",
    "cbnet-dense": "the same with the authors' own nets: dense autoencoder, then the early exit",
    "cbnet-gated": "a light net (`light`, `light-distilled` or `encoder-only`, which held-out "
    "pictures chose); unsure pictures converted; a full net where the gate refuses",
    "encoder-only": "the converter's encoder and a linear head, without a decoder",
    "plain-encoder": "the same net, never part of a converter, trained as long as both",
    "light-full": "the gated converter without its converter: its light net, then its full one",
    "dual": "the distilled light CNN, then the small one for unsure pictures",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate of one seed, ready to run in this process."""

    name: str
    seed: int
    directory: Path
    route: LoadedRoute

    @property
    def pipeline(self) -> Pipeline:
        return self.route.pipeline

    @property
    def digest(self) -> str:
        return self.route.manifest.digest.hex()


def seed_folder(runs: Path, data: str, seed: int) -> Path:
    """Where the study keeps all it has of a seed."""
    return runs / data / f"seed{seed}"


def open_candidates(runs: Path, data: str, seed: int) -> list[Candidate]:
    """All of them, in order. Raises FileNotFoundError for the first that was not trained."""
    models = seed_folder(runs, data, seed) / "models"
    found = []
    for name in CANDIDATES:
        route = open_route(models, f"{data}-{name}")
        place = models / route.manifest.route / route.manifest.version
        found.append(Candidate(name, seed, place, route))
    return found
