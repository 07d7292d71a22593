"""B-LeNet: the net of BranchyNet (arXiv 1709.01686) and of CBNet (arXiv 2403.07036).

As the released code has it: pools of 2x2 that cover the border, ReLU after pooling, nothing between
the two last linear layers. Both ways on from the first convolution begin with the same pool and
ReLU, so these are done once, in the shared trunk. Pictures come in [0, 1] on every data set.
"""

import copy
import math

from torch import nn

from training.nets.exit_net import ExitNet

EXIT_WEIGHTS = (1.0, 1.0)  # the released code's
# Entropy in nats below which a picture leaves at exit 1 (CBNet's released code).
PAPER_NATS = {"mnist": 0.05, "fashion-mnist": 0.5}


def lenet(classes: int = 10) -> ExitNet:
    """The main path alone, 28x28 grey: 1,140,070 MACs for ten classes."""
    return ExitNet([nn.Sequential(*_trunk(), *_rest())], [nn.Sequential(nn.Linear(84, classes))])


def branchynet(main: ExitNet | None = None, classes: int = 10) -> ExitNet:
    """Both exits. With `main`, a trained LeNet, its weights are where the training begins."""
    main = copy.deepcopy(main) if main is not None else lenet(classes)
    (path,), (last,) = main.segments, main.heads
    assert isinstance(path, nn.Sequential)
    shared = len(_trunk())
    return ExitNet([path[:shared], path[shared:]], [_branch(classes), last])


def truncated(branchy: ExitNet) -> ExitNet:
    """The light classifier: the shared convolution and exit 1, 220,150 MACs. Shares weights."""
    return ExitNet([branchy.segments[0]], [branchy.heads[0]])


def entropy_threshold(nats: float, classes: int = 10) -> float:
    """The papers' T as a threshold of `core.classifiers.scores.entropy`."""
    return 1.0 - nats / math.log(classes)


def _trunk() -> list[nn.Module]:
    return [nn.Conv2d(1, 5, 5, padding=3), *_halve()]  # 5 x 15 x 15


def _branch(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(5, 10, 3, padding=1), *_halve(), nn.Flatten(), nn.Linear(640, classes)
    )


def _rest() -> list[nn.Module]:
    return [
        nn.Conv2d(5, 10, 5, padding=3),
        *_halve(),
        nn.Conv2d(10, 20, 5, padding=3),
        *_halve(),
        nn.Flatten(),
        nn.Linear(720, 84),
    ]


def _halve() -> list[nn.Module]:
    return [nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()]
