"""What gates choose: by block, as heat maps over pictures, and after training without losses."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.acm.layers import count_shares
from benchmarks.acm.nets import Nets
from harness.results import Sample
from tokens.acm.drawing import draw_learners
from tokens.acm.network import AcmVit, count_dense
from training.data.sets import Split
from training.token_choice.collapse import Choices, choose, describe_collapse
from training.token_choice.end_to_end import judge

DRAWN = 6
ABLATION_BETA = 0.5
GAP_PX = 4


def describe_choices(net: AcmVit, chosen_NTM: Choices) -> Iterator[Sample]:
    """The share of tokens by number of learners, in percent, for each module and for all."""
    cases = name_modules(net)
    for place, case in enumerate(cases):
        yield from _describe(case, chosen_NTM[:, :, place], net.settings.learners)
    yield from _describe("all modules", chosen_NTM, net.settings.learners)


def name_modules(net: AcmVit) -> list[str]:
    """In the order of their choices."""
    kinds = ["MLP"]
    if net.settings.projections:
        inputs = ["q, k, v"] if net.settings.shared_gate else ["q", "k", "v"]
        kinds = [*inputs, "o", *kinds]
    return [f"block {block + 1}, {kind}" for block in range(net.spec.layers) for kind in kinds]


def describe_ablations(nets: Nets, test: Split) -> Iterator[Sample]:
    """Accuracy, cost, and how far the gates collapsed."""
    for case, net in nets.ablations.items():
        found = judge(net, test, ABLATION_BETA)
        spread = describe_collapse(net, test, ABLATION_BETA)
        yield Sample(case, 0, "ablation_accuracy", 100 * found.accuracy)
        yield Sample(case, 0, "ablation_share", found.macs / count_dense(net.spec))
        yield Sample(case, 0, "entropy", spread.entropy)
        yield Sample(case, 0, "difference", spread.difference)
        yield Sample(case, 0, "commonest", 100 * spread.commonest)


def draw_heat_maps(net: AcmVit, test: Split, beta: float, path: Path) -> Path:
    """Executed learners of a few test pictures, one of each of the first classes: the picture, the
    mean of all blocks, then each block. Returns `path`."""
    rows = pick_rows(test, DRAWN)
    some = Split(test.pictures[rows], test.labels[rows])
    drawn = []
    for picture, chosen_TM in zip(some.pictures, choose(net, some, beta), strict=True):
        found = draw_learners(picture, chosen_TM, net.cost(), net.spec.layers)
        if found is not None:
            drawn += [found, np.full((GAP_PX, *found.shape[1:]), 255, np.uint8)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(drawn[:-1])).save(path)
    return path


def pick_rows(split: Split, count: int) -> Sequence[int]:
    """The first picture of each of the first classes."""
    classes = range(int(split.labels.max()) + 1)
    found = [int((split.labels == label).argmax()) for label in classes if label in split.labels]
    return found[:count]


def _describe(case: str, chosen: Choices, learners: int) -> Iterator[Sample]:
    for count, share in enumerate(count_shares(chosen, learners)):
        yield Sample(case, 0, f"k{count}", 100 * share)
    yield Sample(case, 0, "mean_learners", float(chosen.mean()))
