"""The recipe of a small vision-language model, its text-only twin, and a training with PyramidDrop.

The model answers questions about grids of small pictures in a few words. Its twin gets the same
questions without pictures: what it answers right needs no eyes. A trained model may be trained
further so that it serves every number of visual tokens. An interrupted training resumes in the same
`runs` folder.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.model import Dropping, VisionLanguageModel
from training.data.grids.scenes import load_sources
from training.export.route_writer import describe_making
from training.fitting.in_process import learn
from training.fitting.loop import precision
from training.vision_language.curriculum import ASKING, CURRICULA, Curriculum
from training.vision_language.judging import accuracy_by_family, judge
from training.vision_language.learning import (
    Setting,
    build_model,
    draw_to_judge,
    make_job,
    standard_spec,
)
from training.vision_language.route import list_settings, write_route

REPORTED_PICTURES = 1_000


def train(
    runs: Path,
    *,
    curriculum: str = "whole",
    ratio: float | None = None,
    blind: bool = False,
    seed: int = 1,
    epochs: int | None = None,
    threads: int = 1,
    out: Path | None = None,
    console: Console | None = None,
) -> VisionLanguageModel:
    """Train the model, or read it from `runs`; its weights are `<runs>/<name>.safetensors`. With
    `out`, write the route `vlm-small` there.

    `curriculum`: a name in `CURRICULA`; "budgets" begins with the model of "whole" in `runs`.
    `ratio`: drop visual tokens in training, so that every quarter of the decoder reads this share
    of the quarter before. `blind`: train the text-only twin. `epochs`: of every stage, as a trial.
    Raises ValueError in one sentence for unusable data or options, or a folder of another recipe.
    """
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio: {ratio:g} given, more than 0 and at most 1 allowed")
    if ratio is not None and blind:
        raise ValueError("ratio: the text-only twin has no visual tokens to drop")
    if out is not None and blind:
        raise ValueError("the text-only twin becomes no route; train without --text-only")
    torch.set_num_threads(threads)
    console = console or Console()
    chosen = _shorten(_find(curriculum), epochs)
    spec = standard_spec()
    how = Dropping() if ratio is None else Dropping(pyramid(spec.layers, ratio=ratio))
    parts, held_out, _ = load_sources()
    setting = Setting(build_model(spec, seed), parts, held_out, chosen, how, blind, seed)
    if curriculum == "budgets":
        if ratio is not None or blind:
            raise ValueError("curriculum budgets: it has its own drops, and needs pictures")
        setting = _continue(setting, runs / f"{name_of('whole', None, False)}.safetensors")
    name = name_of(curriculum, ratio, blind)
    run_stages(setting, runs, name, console)
    console.print(_tabulate(setting))
    if out is not None:
        with console.status("operating points on held-out questions"):
            directory = write_route(setting.model, held_out, out, _describe_making(setting, name))
        console.print(str(directory))
    return setting.model


def name_of(curriculum: str, ratio: float | None, blind: bool) -> str:
    """How the files of a training begin."""
    variant = "-blind" if blind else "" if ratio is None else f"-drop{ratio:g}"
    return f"vlm-{curriculum}{variant}"


def run_stages(setting: Setting, runs: Path, name: str, console: Console) -> None:
    """Train the stages that are not yet finished in `runs`; the last one's name is `name`."""

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    *earlier, last = setting.curriculum.stages
    for stage in earlier:
        learn(make_job(setting, f"{name}-{stage.name}", stage, say), runs, console)
    learn(make_job(setting, name, last, say), runs, console)


def _continue(setting: Setting, path: Path) -> Setting:
    """The setting of every budget, its model with the weights of this file. Raises ValueError."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; train the curriculum whole first")
    setting.model.load_state_dict(load_file(path))
    settings = (Dropping(), *list_settings(setting.model.spec).values())
    begins = f"{path.stem}:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return replace(setting, settings=settings, begins=begins)


def _describe_making(setting: Setting, name: str) -> dict[str, Any]:
    return {
        **describe_making(),
        "recipe": "training.vlm",
        "trained_as": name,
        "data": "grids of fashion-mnist, cifar10, mnist",
        "data_identity": setting.train.identity,
        "seed": setting.seed,
        "epochs": [stage.epochs for stage in setting.curriculum.stages],
        "training_precision": precision(),
    }


def _find(name: str) -> Curriculum:
    if name not in CURRICULA:
        raise ValueError(f"unknown curriculum {name!r}; there are {sorted(CURRICULA)}")
    return CURRICULA[name]


def _shorten(curriculum: Curriculum, epochs: int | None) -> Curriculum:
    if epochs is None:
        return curriculum
    stages = tuple(replace(stage, epochs=epochs) for stage in curriculum.stages)
    return replace(curriculum, stages=stages)


def _tabulate(setting: Setting) -> Table:
    """Of held-out pictures, with questions that training had and those it had not."""
    asked = draw_to_judge(setting, ASKING, REPORTED_PICTURES)
    found = accuracy_by_family(judge(setting.model, asked, setting.dropping))
    table = Table("family", "right", title="held-out pictures")
    for family, share in found.items():
        table.add_row(family, f"{share:.1%}")
    return table
