"""The nets of the comparison: what each is, what it learns from, how one is trained or read back.

All are trained under one budget, `recipe`. Which routes they become, `contest_routes` knows. A net
may build on others, `after`, which must be finished first. Run as a process of its own (`python -m
training.contest_nets`), one thread each, it trains one net, progress as JSON lines on stdout.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import nn

from training.data.sets import DataSet, load_data
from training.fitting import budget, converting
from training.fitting.converting import Goal
from training.fitting.hardness import entropy_nats, find_easy
from training.fitting.loop import Job, Report, is_finished, read_recipe, train
from training.fitting.targets import Kind, Targets, choose_targets
from training.nets.autoencoders import (
    CONVOLUTIONAL,
    DENSE,
    Autoencoder,
    EncoderClassifier,
    Mlp,
)
from training.nets.converter import FixedClassifier
from training.nets.exit_net import ExitNet
from training.nets.lenet import EXIT_WEIGHTS, PAPER_NATS, branchynet, lenet, truncated
from training.nets.pools import Classifier, Conv, NetSpec
from training.nets.predicting import Logits, predict

LIGHT = NetSpec("light", (Conv(16, 2), Conv(16, 2)), 0, erase=False)
SMALL = NetSpec("small", (Conv(16, 2), Conv(32, 2)), 0, erase=False)
FULL = NetSpec("full", (Conv(16, 2), Conv(16), Conv(32, 2), Conv(32)), 0, erase=False)
MLP_WIDTHS = (656, 512)  # 855,296 MACs; dense autoencoder and truncated B-LeNet: 855,542
EASY_NATS = 0.5  # for data sets the papers do not have


@dataclass(frozen=True, slots=True)
class Studio:
    """Where the nets of one data set and seed are made."""

    data: DataSet
    folder: Path
    seed: int
    epochs: int

    @property
    def size(self) -> int:
        return int(self.data.train.pictures.shape[1])

    @property
    def classes(self) -> int:
        return len(self.data.source.labels)

    def build(self, name: str) -> nn.Module:
        """The untrained net; what it builds on is read back."""
        torch.manual_seed(self.seed)
        return NETS[name].build(self)

    def load(self, name: str) -> nn.Module:
        """The trained net."""
        net = self.build(name)
        net.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        return net.eval()

    def is_finished(self, name: str) -> bool:
        """Whether the net is there; ValueError when it is of another seed, shape or budget."""
        line = read_recipe(name, self.folder)
        if line is None:
            return False
        shared = budget.describe_budget(self.data)
        if not line.startswith(self.describe(name)) or shared not in line:
            summary = self.folder / f"{name}.json"
            raise ValueError(f"{summary} is of another recipe; delete it or choose another folder")
        return is_finished(name, self.folder, line)

    def describe(self, name: str) -> str:
        """How the net's recipe begins: what can be told without what it builds on."""
        of = "+".join(NETS[name].after) or "nothing"
        return (
            f"contest {name} {NETS[name].settings!r} of={of} seed={self.seed} "
            f"epochs={self.epochs} data={self.data.identity};"
        )


@dataclass(frozen=True, slots=True)
class Made:
    """How a net of the comparison comes about."""

    build: Callable[[Studio], nn.Module]
    job: Callable[[Studio, str], Job]
    settings: object = None  # what decides the weights beside the code
    targets: Kind | None = None  # of a converter
    after: tuple[str, ...] = ()
    budgets: int = 1  # times the epochs of others


def train_net(studio: Studio, name: str, report: Report) -> None:
    """Train the net to the last epoch, continuing where an earlier call stopped."""
    torch.manual_seed(studio.seed)
    train(NETS[name].job(studio, name), studio.folder, report)


def choose_goals(studio: Studio, kind: Kind) -> Targets:
    """Where conversions go: easy pictures, which BranchyNet is sure of at its first exit and has
    right.
    """
    train_rows = studio.data.train
    (logits,) = predict(truncated_net(studio), train_rows.pictures)
    easy = find_easy(logits, train_rows.labels, find_nats(studio.data), must_be_right=True)
    return choose_targets(
        kind,
        train_rows.pictures,
        train_rows.labels,
        easy,
        entropy_nats(logits),
        classes=studio.classes,
        seed=studio.seed,
    )


def find_nats(data: DataSet) -> float:
    """The entropy under which a picture leaves BranchyNet at its first exit."""
    return PAPER_NATS.get(data.name, EASY_NATS)


def _cnn(spec: NetSpec) -> Callable[[Studio], nn.Module]:
    def build(studio: Studio) -> nn.Module:
        source = studio.data.source
        net = Classifier(
            spec, size=studio.size, classes=studio.classes, mean=source.mean, std=source.std
        )
        return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]

    return build


def _branchynet(studio: Studio) -> nn.Module:
    main = studio.load("lenet")
    assert isinstance(main, ExitNet)
    return branchynet(main, studio.classes)


def truncated_net(studio: Studio) -> ExitNet:
    """The light classifier as the paper has it: BranchyNet up to its first exit."""
    branchy = studio.load("branchynet")
    assert isinstance(branchy, ExitNet)
    return truncated(branchy)


def _converter(studio: Studio) -> nn.Module:
    return FixedClassifier(Autoencoder(DENSE, studio.size), truncated_net(studio))


def _guided(studio: Studio) -> nn.Module:
    light = studio.load("light-distilled")
    return FixedClassifier(Autoencoder(CONVOLUTIONAL, studio.size), light)


def _encoder_only(studio: Studio) -> nn.Module:
    guided = studio.load("guided-converter")
    assert isinstance(guided, FixedClassifier)
    return EncoderClassifier(guided.autoencoder.encoder, studio.classes, frozen=False)


def _plain_encoder(studio: Studio) -> nn.Module:
    encoder = Autoencoder(CONVOLUTIONAL, studio.size).encoder
    return EncoderClassifier(encoder, studio.classes, frozen=False)


def _plain(studio: Studio, name: str, teacher: Logits | None = None) -> Job:
    return budget.job(
        name,
        studio.build(name),
        studio.data,
        seed=studio.seed,
        epochs=studio.epochs * NETS[name].budgets,
        weights=EXIT_WEIGHTS if name == "branchynet" else (1.0,),
        teacher=teacher,
        recipe=studio.describe(name),
    )


def _taught(studio: Studio, name: str) -> Job:
    (teacher,) = predict(studio.load("full"), studio.data.train.pictures)
    return _plain(studio, name, teacher)


def _converting(kind: Kind, goal: Goal) -> Callable[[Studio, str], Job]:
    def job(studio: Studio, name: str) -> Job:
        targets = choose_goals(studio, kind)
        net = studio.build(name)
        assert isinstance(net, FixedClassifier)
        return converting.job(
            name,
            net,
            studio.data,
            targets,
            goal,
            seed=studio.seed,
            epochs=studio.epochs,
            recipe=studio.describe(name),
        )

    return job


PUBLISHED_TARGETS: Kind = "prototype"
GUIDED_TARGETS: Kind = "clusters"
PUBLISHED_GOAL = Goal()
GUIDED_GOAL = Goal(guide=0.3)  # with 1.0 the conversions are noise that only it can read

# In the order in which they are trained, as far as what they build on is there.
NETS: Mapping[str, Made] = MappingProxyType(
    {
        "lenet": Made(lambda studio: lenet(studio.classes), _plain),
        "full": Made(_cnn(FULL), _plain, FULL),
        "branchynet": Made(_branchynet, _plain, EXIT_WEIGHTS, after=("lenet",)),
        "light-distilled": Made(_cnn(LIGHT), _taught, LIGHT, after=("full",)),
        "converter": Made(
            _converter,
            _converting(PUBLISHED_TARGETS, PUBLISHED_GOAL),
            (DENSE, PUBLISHED_TARGETS, PUBLISHED_GOAL),
            PUBLISHED_TARGETS,
            after=("branchynet",),
        ),
        "guided-converter": Made(
            _guided,
            _converting(GUIDED_TARGETS, GUIDED_GOAL),
            (CONVOLUTIONAL, GUIDED_TARGETS, GUIDED_GOAL),
            GUIDED_TARGETS,
            after=("branchynet", "light-distilled"),
        ),
        "small": Made(_cnn(SMALL), _plain, SMALL),
        "light": Made(_cnn(LIGHT), _plain, LIGHT),
        "mlp": Made(
            lambda studio: Mlp(MLP_WIDTHS, studio.size, studio.classes), _plain, MLP_WIDTHS
        ),
        "encoder-only": Made(_encoder_only, _plain, after=("guided-converter",)),
        "plain-encoder": Made(_plain_encoder, _plain, CONVOLUTIONAL, budgets=2),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--net", required=True, choices=list(NETS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    studio = Studio(load_data(options.data), options.folder, options.seed, options.epochs)
    train_net(studio, options.net, lambda line: print(json.dumps(line), flush=True))


if __name__ == "__main__":
    main()
