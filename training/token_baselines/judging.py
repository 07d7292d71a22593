"""What a baseline reaches: its operating points, each with accuracy and counted MACs a picture.

A static net has one point. Merging has one for each number of merged tokens. Exits have one for
each share of the largest cost: the one threshold of all exits is chosen on held-out pictures, where
it comes nearest to that cost, and judged on others.

Shapes: N pictures, X exits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from core.classifiers.scores import max_probability, softmax
from tokens.acm.network import count_dense
from tokens.vision_transformer import VisionTransformer
from training.data.sets import Split
from training.nets.predicting import predict
from training.token_baselines.early_exits import ExitVit
from training.token_baselines.merging import MergingVit
from training.token_baselines.methods import MERGED

SHARES = (0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
THRESHOLDS = (*np.linspace(0.3, 0.99, 70), *(1 - np.logspace(-2, -6, 40)))

Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Point:
    """`at`: the operating point, in words; `hits` [N]: which pictures are answered right."""

    at: str
    hits: Hits
    macs: float  # mean of a picture

    @property
    def accuracy(self) -> float:
        return float(self.hits.mean())


def judge(net: nn.Module, held_out: Split, test: Split) -> list[Point]:
    """The points of a net of `METHODS` on `test`; whatever is chosen, `held_out` chooses."""
    if isinstance(net, ExitVit):
        return list(_judge_exits(net, held_out, test))
    if isinstance(net, MergingVit):
        return judge_merging(net.trunk, test)
    assert isinstance(net, VisionTransformer)
    return [Point("", _grade(net, test), count_dense(net.spec))]


def judge_merging(net: VisionTransformer, test: Split) -> list[Point]:
    """Merging in any dense net, trained for it or not."""
    return [
        Point(f"{merged} tokens a layer", _grade(one, test), one.macs(merged))
        for merged in MERGED
        for one in (MergingVit(net, merged),)
    ]


def _judge_exits(net: ExitVit, held_out: Split, test: Split) -> Iterator[Point]:
    macs_X = np.array(net.macs())
    chosen_on, judged = _Exits.of(net, held_out), _Exits.of(net, test)
    costs = [float(macs_X[chosen_on.leave(threshold)].mean()) for threshold in THRESHOLDS]
    for share in SHARES:
        wanted = share * macs_X[-1]
        if wanted < macs_X[0]:
            continue
        nearest = int(np.argmin(np.abs(np.array(costs) - wanted)))
        left = judged.leave(THRESHOLDS[nearest])
        hits = judged.hits_XN[left, np.arange(len(left))]
        yield Point(f"threshold {THRESHOLDS[nearest]:.6g}", hits, float(macs_X[left].mean()))


@dataclass(frozen=True, slots=True)
class _Exits:
    """Every exit's confidence and whether it is right."""

    scores_XN: npt.NDArray[np.float64]
    hits_XN: Hits

    @classmethod
    def of(cls, net: ExitVit, split: Split) -> "_Exits":
        logits = predict(net, split.pictures)
        scores = [max_probability(softmax(one, 1.0)) for one in logits]
        return cls(np.stack(scores), np.stack([one.argmax(1) == split.labels for one in logits]))

    def leave(self, threshold: float) -> npt.NDArray[np.int64]:
        """The exit [N] of each picture: the first that is sure enough, or the last."""
        sure_XN = self.scores_XN >= threshold
        sure_XN[-1] = True
        first: npt.NDArray[np.int64] = sure_XN.argmax(axis=0)
        return first


def _grade(net: nn.Module, test: Split) -> Hits:
    right: Hits = predict(net, test.pictures)[0].argmax(axis=1) == test.labels
    return right
