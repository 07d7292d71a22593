"""The trained nets that are compared. What is not there yet is left out, in a sentence."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from benchmarks.acm.names import ABLATIONS
from tokens.acm.network import AcmVit
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.fitting.dense_teacher import load_teacher
from training.token_baselines.methods import METHODS
from training.token_choice.reading import load_acm

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where nets are. `singles`: a folder with a file `acm-beta<β>.safetensors` for each budget;
    `baselines`, `ablation`: the folders that the commands of those names fill."""

    teacher: Path
    acm: Path
    singles: Path
    baselines: Path
    ablation: Path


@dataclass(frozen=True, slots=True)
class Nets:
    """`acm`: the net for every budget; `singles`: those for one, by budget."""

    dense: VisionTransformer
    acm: AcmVit | None
    singles: Mapping[float, AcmVit]
    baselines: Mapping[str, nn.Module]
    ablations: Mapping[str, AcmVit]


def read_nets(places: Places, spec: VitSpec, say: Say) -> Nets:
    """All that is there. Raises ValueError in one sentence without the teacher, or for a file of
    another architecture."""
    dense = load_teacher(places.teacher, spec)
    if dense.spec.has_class_token:
        raise ValueError(f"{places.teacher}: a net with a class token has no baselines here")
    acm = _read_acm(places.acm, spec, "the net for every budget", say)
    singles = {
        float(found[1]): load_acm(path, spec)
        for path in sorted(places.singles.glob("acm-beta*.safetensors"))
        if (found := re.fullmatch(r"acm-beta([\d.]+)\.safetensors", path.name))
    }
    if not singles:
        say(f"{places.singles}: no net for a single budget, left out")
    baselines = {}
    for name in METHODS:
        path = places.baselines / f"{name}.safetensors"
        if path.exists():
            baselines[name] = _read_baseline(path, name, dense)
        else:
            say(f"{path}: not there, the baseline is left out")
    ablations = {}
    for name, words in ABLATIONS.items():
        path = places.ablation / f"{name}.safetensors"
        net = _read_acm(path, spec, f"the ablation {words!r}", say)
        if net is not None:
            ablations[name] = net
    return Nets(dense, acm, singles, baselines, ablations)


def _read_acm(path: Path, spec: VitSpec, words: str, say: Say) -> AcmVit | None:
    if path.exists():
        return load_acm(path, spec)
    say(f"{path}: not there, {words} is left out")
    return None


def _read_baseline(path: Path, name: str, dense: VisionTransformer) -> nn.Module:
    torch.manual_seed(0)  # what is built is overwritten
    net = METHODS[name].build(dense)
    try:
        net.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: no weights of {name} for this teacher") from error
    return net.eval()
