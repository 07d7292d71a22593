"""A converter as the user wishes it, which takes the place of the contest's in the gated route.

Its autoencoder, targets and loss are free, and the light classifier behind it may be tuned on its
conversions, as CBNet (arXiv 2403.07036) allows. The contest's own two stay as they are, so that
what is compared does not change.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from rich.console import Console

from training.contest import open_bench
from training.contest_nets import GUIDED_GOAL, GUIDED_TARGETS, Studio, choose_goals
from training.contest_routes import draft_gated
from training.contest_stages import Measure, make_stage
from training.exits import learn
from training.export.cost import measure_us_per_picture
from training.export.route_writer import RouteDraft
from training.fitting import budget, converting
from training.fitting.converting import Error, Goal
from training.fitting.targets import Kind
from training.nets.autoencoders import CONVOLUTIONAL, DENSE, Autoencoder
from training.nets.converter import Converter, FixedAutoencoder, FixedClassifier

CLASSIFIER = "light-distilled"
REPLACED = "guided-converter"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user may choose; as they stand, the contest's."""

    dense: bool = False  # the paper's layers, else the convolutional autoencoder
    targets: Kind = GUIDED_TARGETS
    error: Error = GUIDED_GOAL.error
    activity: float = GUIDED_GOAL.activity
    guide: float = GUIDED_GOAL.guide
    tuned: bool = False  # the light classifier learns on conversions, when these are learnt

    def __post_init__(self) -> None:
        for name, value in (("activity", self.activity), ("guide", self.guide)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: {value} given, a number from 0 on is needed")

    @property
    def name(self) -> str:
        """Of the net: each wish is kept beside the others."""
        return f"converter-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}"


def train_own(studio: Studio, wishes: Wishes, console: Console) -> Converter:
    """Bring it to its last epoch, or read it back; the contest's nets must be there."""
    torch.set_num_threads(1)
    classifier = studio.load(CLASSIFIER)
    torch.manual_seed(studio.seed)
    shape = DENSE if wishes.dense else CONVOLUTIONAL
    net = FixedClassifier(Autoencoder(shape, studio.size), classifier)
    targets = choose_goals(studio, wishes.targets)
    goal = Goal(wishes.error, wishes.activity, wishes.guide)
    job = converting.job(
        wishes.name, net, studio.data, targets, goal, seed=studio.seed, epochs=studio.epochs
    )
    learn(job, studio.folder, console)
    if not wishes.tuned:
        return net
    tuned = FixedAutoencoder(net.autoencoder, classifier.requires_grad_(True))
    tuning = budget.job(
        f"{wishes.name}-tuned",
        tuned,
        studio.data,
        seed=studio.seed,
        epochs=studio.epochs,
        recipe=f"tuned after: {job.recipe};",
    )
    learn(tuning, studio.folder, console)
    return tuned


def draft_own(
    studio: Studio,
    wishes: Wishes,
    net: Converter,
    console: Console,
    measure: Measure = measure_us_per_picture,
) -> RouteDraft:
    """The gated route with this converter, its gate chosen anew."""
    name = f"{wishes.name}-tuned" if wishes.tuned else wishes.name
    references = choose_goals(studio, wishes.targets).references
    own = make_stage(studio, name, net, references=references)
    bench = open_bench(studio, console, measure, instead={REPLACED: own})
    return draft_gated(bench, "cbnet-gated")
