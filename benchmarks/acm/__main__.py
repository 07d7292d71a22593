"""`python -m benchmarks.acm`: a net with learners beside its dense teacher and beside baselines.

Judges accuracy and MACs on the whole test set, paired by picture; times the nets in ONNX Runtime,
and layers of larger shapes; shows what the gates choose. What is not trained yet is left out, with
a sentence.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.acm.accuracy import judge_nets
from benchmarks.acm.choices import describe_ablations, describe_choices, draw_heat_maps
from benchmarks.acm.layers import SHAPES, summarise, time_layers
from benchmarks.acm.names import TIMED_BETAS
from benchmarks.acm.nets import Nets, Places, Say, read_nets
from benchmarks.acm.report import HEAT_MAPS, REPORTS
from benchmarks.acm.served import measure_served
from benchmarks.acm.times import time_baselines, time_nets
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import DOCS
from harness.results import QUICK_FOLDER, Sample
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet, Split, load_data
from training.fitting.vit import spec_for
from training.token_choice.collapse import choose

QUICK_PICTURES = 300
CHOOSING_ROWS, ABLATION_ROWS, SERVED_PICTURES = 2_000, 2_500, 2_000
DRAWN_BETA, SHOWN_BETA = 0.35, 0.5


def measure(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    torch.set_num_threads(1)
    data = load_data(options.data)
    if options.quick:
        data = replace(data, test=cut(data.test, QUICK_PICTURES),
                       held_out=cut(data.held_out, QUICK_PICTURES))  # fmt: skip
    places = Places(
        options.teacher, options.acm, options.singles, options.baselines, options.ablation
    )

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    nets = read_nets(places, spec_for(data), say)
    if not REPORTS[options.data].images:  # neither routes nor pictures of this data are shipped
        yield from measure_nets(nets, data, None, options.runs, options.rounds, say, {})
        return
    folder = (QUICK_FOLDER if options.quick else DOCS) / "img"
    yield from measure_nets(nets, data, folder, options.runs, options.rounds, say)
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as work:
        pictures = data.test.pictures[:SERVED_PICTURES]
        yield from measure_served(
            options.models, pictures, Path(work), options.runs, options.seconds, say
        )


def measure_nets(
    nets: Nets,
    data: DataSet,
    images: Path | None,
    runs: int,
    rounds: int,
    say: Say,
    shapes: Mapping[str, VitSpec] = SHAPES,
) -> Iterator[Sample]:
    """All parts, those of nets that are missing left out. `images` takes the heat maps; None draws
    none. `shapes`: of layers with random weights that are timed.
    """
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        yield from time_nets(nets, data.test.pictures, work, runs, rounds, say)
        say("timing baselines")
        yield from time_baselines(nets, data.test.pictures, work, runs, rounds)
        if nets.acm is not None:
            some = cut(data.test, CHOOSING_ROWS)
            chosen = {beta: choose(nets.acm, some, beta) for beta in TIMED_BETAS}
            layer = summarise(nets.acm.settings, nets.acm.spec.layers, chosen)
            yield from time_layers(layer, work, runs, rounds, say, shapes)
            yield from describe_choices(nets.acm, chosen[SHOWN_BETA])
            if images is not None:
                draw_heat_maps(nets.acm, data.test, DRAWN_BETA, images / f"{HEAT_MAPS}.png")
        yield from judge_nets(nets, data, work, say)
        yield from describe_ablations(nets, cut(data.test, ABLATION_ROWS))


def cut(split: Split, rows: int) -> Split:
    """The first rows."""
    return Split(split.pictures[:rows], split.labels[:rows])


if __name__ == "__main__":
    parser = make_parser(__doc__, seconds=4.0)
    parser.add_argument("--data", choices=REPORTS, default="fashion-mnist")
    parser.add_argument("--teacher", type=Path, help="weights of the dense net",
                        default=Path("models/fashion-mnist-vit/1/vit.safetensors"))  # fmt: skip
    parser.add_argument("--acm", type=Path, help="weights of the net for every budget",
                        default=Path("models/fashion-mnist-acm/2/acm.safetensors"))  # fmt: skip
    parser.add_argument("--singles", type=Path, default=Path("runs/acm/fashion-mnist"),
                        help="folder with acm-beta<β>.safetensors")  # fmt: skip
    parser.add_argument("--baselines", type=Path, default=Path("runs/acm-baselines"))
    parser.add_argument("--ablation", type=Path, default=Path("runs/acm-ablation"))
    parser.add_argument("--rounds", type=int, default=9, help="of each timing in a run")
    run_benchmark(
        parser, measure, lambda options: REPORTS[options.data], runs=1, rounds=1, seconds=0.5
    )
