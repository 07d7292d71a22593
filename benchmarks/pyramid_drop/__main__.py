"""`python -m benchmarks.pyramid_drop`: a model with fewer visual tokens beside the untouched one.

Asks the shipped model about test pictures, under PyramidDrop and under comparators that read as
many tokens; times prefills and steps of training; asks the server with the lengths of public
traces. What is not trained or not there is left out, with a sentence.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmarks.pyramid_drop.accelerator import time_accelerator
from benchmarks.pyramid_drop.memory import measure_memory
from benchmarks.pyramid_drop.names import BATCHES, BUDGETS, FAMILIES, PLAIN
from benchmarks.pyramid_drop.prefills import Say, time_small, time_wide
from benchmarks.pyramid_drop.quality import (
    ask_all,
    compare_points,
    judge_blind,
    judge_commonest,
)
from benchmarks.pyramid_drop.report import REPORT
from benchmarks.pyramid_drop.served import DISTINCT, find_name, measure_served
from benchmarks.pyramid_drop.trainings import judge_trained, time_steps
from benchmarks.reporting.command import make_parser, run_benchmark
from core.manifest import read_manifest
from harness.results import Sample
from tokens.vision_language.files import read_model
from tokens.vision_language.model import VisionLanguageModel
from tokens.vision_language.serving.declarations import VlmOptions
from training.data.grids.scenes import load_sources
from training.vision_language.learning import build_model, standard_spec
from training.vision_language.operating_points import Asked, draw_questions

ROUTE = "vlm-small"
SEED = 23  # of the questions


def measure(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    torch.set_num_threads(1)
    train, _, test = load_sources()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    route = find_route(options.models)
    name, choices = find_name(route), find_choices(route)
    model, _ = read_model(route, name)
    plain, twin = (read_weights(path, say) for path in (options.plain, options.blind))
    asked = draw_questions(test, FAMILIES, options.questions, SEED)
    pictures = asked.pictures[:DISTINCT]
    rounds, runs = options.rounds, options.runs
    yield from time_small(model, pictures[: max(BATCHES)], runs, rounds, say)
    yield from time_wide(runs, max(1, rounds // 6), say)
    yield from time_accelerator(runs, rounds, say)
    yield from measure_memory(route, name, runs, say)
    yield from time_steps(train, runs, options.steps, say)
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as work:
        yield from measure_served(
            route, options.traces, pictures.numpy(), Path(work), runs, options.seconds, say
        )
    yield from judge(plain, twin, model, choices, asked, say)
    yield from judge_commonest(train, asked, say)
    yield from judge_trained(options.trained, asked, say)


def judge(
    plain: VisionLanguageModel | None,
    twin: VisionLanguageModel | None,
    model: VisionLanguageModel,
    choices: Sequence[Sequence[int]],
    asked: Asked,
    say: Say,
) -> Iterator[Sample]:
    """What these models answer."""
    answered = {BUDGETS: ask_all(model, choices, asked, say)}
    if plain is not None:
        answered = {PLAIN: ask_all(plain, choices, asked, say), **answered}
    (untouched, *_), *_ = answered.values()
    for name, points in answered.items():
        yield from compare_points(name, points, untouched, asked)
    if twin is not None:
        yield from judge_blind(twin, asked, say)


def read_weights(path: Path, say: Say) -> VisionLanguageModel | None:
    """The standard model with these weights; None where there are none."""
    if not path.exists():
        say(f"{path}: not there, this model is left out")
        return None
    model = build_model(standard_spec(), 1)
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: no weights of the standard model") from error
    return model.eval()


def find_choices(route: Path) -> tuple[tuple[int, ...], ...]:
    """Of layers before which the route drops tokens."""
    return VlmOptions.model_validate(read_manifest(route).options).choices


def find_route(models: Path) -> Path:
    """The newest version. Raises ValueError where there is none."""
    versions = list((models / ROUTE).glob("[0-9]*"))
    if not versions:
        raise ValueError(f"{models / ROUTE}: not there; sparing train vlm --out makes it")
    return max(versions, key=lambda path: int(path.name))


if __name__ == "__main__":
    parser = make_parser(__doc__, runs=3, seconds=10.0)
    parser.add_argument("--questions", type=int, default=300, help="of each family")
    parser.add_argument("--rounds", type=int, default=9, help="of each timing in a run")
    parser.add_argument("--steps", type=int, default=6, help="of training, timed in a run")
    traces = Path(os.environ.get("SPARING_DATA", "SPARING_DATA")) / "traces"
    parser.add_argument("--traces", type=Path, default=traces,
                        help="folder with the Azure LLM inference traces of 2023")  # fmt: skip
    parser.add_argument("--plain", type=Path, help="weights of the model trained without drops",
                        default=Path("runs/vlm/vlm-whole.safetensors"))  # fmt: skip
    parser.add_argument("--blind", type=Path, help="weights of the text-only twin",
                        default=Path("runs/vlm/vlm-short-blind.safetensors"))  # fmt: skip
    parser.add_argument("--trained", type=Path, default=Path("runs/vlm"),
                        help="folder with both models of the short curriculum")  # fmt: skip
    run_benchmark(parser, measure, REPORT, runs=1, rounds=1, seconds=2.0, questions=4, steps=1)
