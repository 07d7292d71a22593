"""The recipe of adaptive computation modules: a trained transformer that chooses work per token.

After arXiv 2312.10193, in its three phases: distil the teacher's layers into learners, teach gates
how many learners a token needs, then train the whole net on its task and its budgets. Learners
begin with the teacher's weights unless told otherwise. An interrupted training resumes in the same
`runs` folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tokens.acm.network import AcmSettings, AcmVit, count_dense
from tokens.acm.surgery import Start, convert
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet, load_data
from training.export.acm_route import BETAS, MeasureForms, make_route, measure_forms
from training.export.route_writer import describe_making, write_route
from training.fitting.dense_teacher import identify, load_teacher
from training.fitting.in_process import learn
from training.fitting.route_teacher import RouteTeacher
from training.fitting.vit import spec_for
from training.token_choice import distilling, end_to_end, labelling
from training.token_choice.end_to_end import (
    EVERY_BUDGETS_WEIGHTS,
    PAPERS_WEIGHTS,
    Judged,
    LossWeights,
    judge,
)
from training.token_choice.setting import Setting

NAME = "acm"


@dataclass(frozen=True, slots=True)
class Epochs:
    """Of the three phases; the first two may be left out by 0."""

    distil: int = 1
    label: int = 1
    end_to_end: int = 4


STANDARD = AcmSettings()
FULL = Epochs()


def train(
    data: str,
    runs: Path,
    *,
    teacher: Path,
    taught_by: Path | None = None,
    beta: float | None = None,
    settings: AcmSettings = STANDARD,
    start: Start = "teacher",
    epochs: Epochs = FULL,
    weights: LossWeights | None = None,
    seed: int = 1,
    threads: int = 1,
    out: Path | None = None,
    measure: MeasureForms = measure_forms,
    console: Console | None = None,
) -> AcmVit:
    """Convert the net in the safetensors file `teacher`, or in a directory that Hugging Face
    transformers or timm saved, and train it through the three phases.

    `taught_by`: the directory of a single-net route that teaches the last phase. `beta`: the only
    budget of the net, in [0, 1]; None makes a net for every budget, which may become the route
    `<data>-acm` in `out`. `weights`: of the last phase's losses; by default the paper's for one
    budget, and a heavier budget loss for every budget. With `out`, weights of the returned net are
    rounded to half precision. Files in `runs` begin with `acm`. Raises
    ValueError in one sentence for unusable data, options, or folders of another recipe.
    """
    if beta is not None and not 0 <= beta <= 1:
        raise ValueError(f"budget: {beta} given, 0 to 1 allowed")
    if beta is not None and out is not None:
        raise ValueError("a route needs a net for every budget; train without a budget of its own")
    torch.set_num_threads(threads)
    console = console or Console()
    data_set = load_data(data)
    route = None if taught_by is None else RouteTeacher(taught_by, data_set)
    weights = weights or (EVERY_BUDGETS_WEIGHTS if beta is None else PAPERS_WEIGHTS)
    setting = prepare(data_set, spec_for(data_set), teacher, settings, start, seed)
    run_phases(setting, runs, epochs, beta, route, weights, console)
    betas = BETAS if beta is None else (beta,)
    held_out = [judge(setting.net, data_set.held_out, one) for one in betas]
    console.print(_tabulate(setting, held_out))
    if out is not None:
        making = {**describe_making(), "recipe": "training.acm", "taught_by": _name(route)}
        with console.status("exporting, measuring"):
            draft = make_route(setting.net, data_set, runs, NAME, making, measure)
        console.print(str(write_route(out, draft)))
    return setting.net


def prepare(
    data: DataSet, spec: VitSpec, teacher: Path, settings: AcmSettings, start: Start, seed: int
) -> Setting:
    """The converted net and its teacher."""
    dense = load_teacher(teacher, spec)
    torch.manual_seed(seed)
    net = convert(dense, settings, start)
    net.outer.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    identity = identify(teacher, dense)
    origin = (
        f"{dense.spec} {settings} start={start} seed={seed} dense={identity} data={data.identity}"
    )
    return Setting(net, dense, data, seed, origin)


def run_phases(
    setting: Setting,
    runs: Path,
    epochs: Epochs,
    beta: float | None,
    teacher: RouteTeacher | None,
    weights: LossWeights,
    console: Console,
) -> None:
    """Train what is not yet finished in `runs`; single budgets share the first phases' files."""
    if epochs.distil:
        job = distilling.make_job(setting, name="acm-distilled", epochs=epochs.distil)
        learn(job, runs, console)
    setting = replace(setting, origin=f"{setting.origin} distil={epochs.distil}")
    if epochs.label:
        name = "acm-gates" if beta is None else "acm-gates-one-budget"
        every = beta is None
        job = labelling.make_job(setting, name=name, epochs=epochs.label, every_budget=every)
        learn(job, runs, console)
    setting = replace(setting, origin=f"{setting.origin} label={epochs.label}")
    job = end_to_end.make_job(
        setting,
        name=NAME if beta is None else f"acm-beta{beta:g}",
        epochs=epochs.end_to_end,
        beta=beta,
        teacher=teacher,
        weights=weights,
    )
    learn(job, runs, console)


def _name(route: RouteTeacher | None) -> str:
    return "none" if route is None else route.name


def _tabulate(setting: Setting, held_out: list[Judged]) -> Table:
    dense = count_dense(setting.net.spec)
    table = Table("budget", "MACs", "of the dense net's", "accuracy", title="held-out pictures")
    for one in held_out:
        share = one.macs / dense
        table.add_row(f"{one.beta:g}", f"{one.macs:,.0f}", f"{share:.1%}", f"{one.accuracy:.2%}")
    return table
