"""`sparing compare`, or `python -m benchmarks.compare`: fourteen networks and cascades, compared.

LeNet, BranchyNet, CBNet in three forms and controls are trained under one budget for every seed,
exported to one runtime and measured: accuracy and robustness by replay, cost through the real
server. What is trained and what is measured is saved in `--runs`: after an interruption the same
command goes on. The numbers go to `benchmarks/results/` and `docs/reports/cbnet.md`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.compare.measuring.bare import measure_bare
from benchmarks.compare.measuring.candidates import Candidate, open_candidates, seed_folder
from benchmarks.compare.measuring.int8 import TRAINING_ROWS, measure_int8
from benchmarks.compare.measuring.kept import identify, keep, read_kept
from benchmarks.compare.measuring.replay import (
    Trials,
    gather_unrelated,
    make_trials,
    measure_accuracy,
    measure_frozen,
    measure_robustness,
)
from benchmarks.compare.measuring.times import SHAPES, measure_times
from benchmarks.compare.report import REPORTS
from benchmarks.reporting.command import publish
from benchmarks.reporting.pages import DOCS
from benchmarks.reporting.tables import MAX_RUNS
from core.errors import SparingError
from harness.results import QUICK_FOLDER, Sample
from sparing.failure import Failure
from sparing.interrupting import resumable
from studies.converters.frozen import VARIANTS, frozen_file, is_trained
from training.data.sets import DataSet, load_data

DATA = ("fashion-mnist", "mnist")
QUICK_EPOCHS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is trained and measured."""

    seeds: int = 3
    epochs: int | None = None  # of every net; None: the recipe's own
    trial_rows: int = 1000  # corrupted pictures and unrelated ones, of each kind
    runs: int = 4  # of every load on the server
    seconds: float = 1.0  # of a load

    @property
    def is_trial(self) -> bool:
        """Whether it is smaller than what the report is made of."""
        return self.epochs is not None

    def say(self) -> str:
        """The options that make it."""
        if self == QUICK:
            return "--quick"
        return f"--seeds {self.seeds}" + (f" --epochs {self.epochs}" if self.is_trial else "")


QUICK = Plan(seeds=1, epochs=QUICK_EPOCHS, trial_rows=500, runs=1, seconds=0.6)


def main() -> None:
    options = read_options()
    plan = QUICK if options.quick else Plan(seeds=options.seeds, epochs=options.epochs)
    runs = options.runs / "quick" if options.quick else options.runs
    console = Console(stderr=True)
    try:
        with resumable():
            data = load_data(options.data)
            gather_unrelated(options.data, 1, 0)  # what is missing is told before hours of training
            if options.only in (None, "train"):
                train(data, runs, plan, options.workers, console)
                draw(data, runs, plan)
            if options.only in (None, "train", "frozen"):
                train_around_frozen(data, runs, plan, console)
            if options.only == "replay":
                replay_all(data, runs, plan, gather(data, runs, plan), console)
            if options.only in (None, "measure"):
                samples = measure(data, runs, plan, console)
                command = f"sparing compare --data {options.data} {plan.say()}"
                print(publish(REPORTS[options.data], command, samples, quick=plan.is_trial))
    except Failure as failure:
        print(f"sparing: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
    except (SparingError, RuntimeError, ValueError, OSError) as error:
        sys.exit(f"sparing: {error}")


def read_options() -> argparse.Namespace:
    """`sparing compare --help` says what they are."""
    parser = argparse.ArgumentParser(prog="sparing compare", description=__doc__)
    parser.add_argument("--data", choices=DATA, default=DATA[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, choices=range(1, MAX_RUNS + 1), default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", choices=("train", "frozen", "replay", "measure"))
    return parser.parse_args()


def train(data: DataSet, runs: Path, plan: Plan, workers: int, console: Console) -> None:
    """The candidates of every seed."""
    from studies.converters.study import train_study  # it needs torch, measuring does not

    for seed in range(1, plan.seeds + 1):
        console.print(f"seed {seed} of {plan.seeds} on {data.name}")
        train_study(
            data.name, runs, seed=seed, epochs=plan.epochs, workers=workers, console=console
        )


def draw(data: DataSet, runs: Path, plan: Plan) -> None:
    """Pictures of the first seed before and after conversion, for the report."""
    from studies.converters.figure import draw_study
    from studies.converters.study import open_study

    experiment = open_study(data.name, runs, seed=1, epochs=plan.epochs)
    folder = QUICK_FOLDER if plan.is_trial else DOCS
    draw_study(experiment, folder / "img" / f"{data.name}-converted.png")


def train_around_frozen(data: DataSet, runs: Path, plan: Plan, console: Console) -> None:
    """What stands before a frozen classifier, of every seed."""
    from studies.converters.train_frozen import train_frozen

    for seed in range(1, plan.seeds + 1):
        train_frozen(data, seed_folder(runs, data.name, seed), seed, plan.epochs, console)


def measure(data: DataSet, runs: Path, plan: Plan, console: Console) -> list[Sample]:
    """What is saved is not measured again."""
    candidates = gather(data, runs, plan)
    samples = replay_all(data, runs, plan, candidates, console)
    timed = [one for one in candidates if one.seed == 1]
    samples += time_nets(runs, data, timed, samples)
    samples += compress(runs, data, timed)
    samples += time_served(runs, data, timed, plan, console)
    return samples


def gather(data: DataSet, runs: Path, plan: Plan) -> list[Candidate]:
    """Of all seeds. Raises FileNotFoundError for the first that was not trained."""
    seeds = range(1, plan.seeds + 1)
    try:
        return [one for seed in seeds for one in open_candidates(runs, data.name, seed)]
    except FileNotFoundError as error:
        words = f"sparing compare --data {data.name} {plan.say()} --only train"
        raise FileNotFoundError(f"{error}; {words} makes it") from error


def replay_all(
    data: DataSet, runs: Path, plan: Plan, candidates: Sequence[Candidate], console: Console
) -> list[Sample]:
    """All that does not depend on how busy the machine is."""
    trials = make_trials(data, plan.trial_rows)
    samples: list[Sample] = []
    for one in track(candidates, "replaying", console=console):
        samples += replay(runs, data, one, trials)
    for seed in range(1, plan.seeds + 1):
        if is_trained(seed_folder(runs, data.name, seed)):
            samples += replay_frozen(runs, data, seed, trials)
        else:
            console.print(f"seed {seed}: nothing was trained around the frozen classifier")
    return samples


def replay(runs: Path, data: DataSet, one: Candidate, trials: Trials) -> list[Sample]:
    place = seed_folder(runs, data.name, one.seed) / "measured" / f"{one.name}.json"
    return keep(place, identify(one.digest, trials.identity), lambda: [
        *measure_accuracy(one, data), *measure_robustness(one, trials)
    ])  # fmt: skip


def replay_frozen(runs: Path, data: DataSet, seed: int, trials: Trials) -> list[Sample]:
    folder = seed_folder(runs, data.name, seed)
    samples: list[Sample] = []
    for variant in VARIANTS:
        path = frozen_file(folder, variant)
        samples += keep(
            folder / "measured" / path.with_suffix(".json").name,
            identify(path.read_bytes(), trials.identity),
            partial(measure_frozen, folder, data, seed, variant, trials),
        )
    return samples


def time_nets(
    runs: Path, data: DataSet, candidates: Sequence[Candidate], replayed: Sequence[Sample]
) -> list[Sample]:
    """Of the first seed, each stage weighted by how many pictures reached it there."""
    ended = {
        (s.case, s.metric): s.value
        for s in replayed
        if s.metric.startswith("ended_") and s.run == candidates[0].seed
    }
    reached = {}
    for one in candidates:
        shares = [ended[one.name, f"ended_{index}"] for index in range(len(one.pipeline.stages))]
        reached[one.name] = [1.0 - sum(shares[:index]) for index in range(len(shares))]
    place = seed_folder(runs, data.name, candidates[0].seed) / "measured" / "bare.json"
    identity = identify(*(one.digest for one in candidates), len(data.test.labels))
    return keep(place, identity, lambda: measure_bare(candidates, reached))


def compress(runs: Path, data: DataSet, candidates: Sequence[Candidate]) -> list[Sample]:
    """Of the first seed, in int8."""
    place = seed_folder(runs, data.name, candidates[0].seed) / "measured" / "int8.json"
    identity = identify(*(one.digest for one in candidates), len(data.test.labels), TRAINING_ROWS)
    return keep(place, identity, lambda: measure_int8(candidates, data))


def time_served(
    runs: Path, data: DataSet, candidates: Sequence[Candidate], plan: Plan, console: Console
) -> list[Sample]:
    """Every run that was not kept, on one server."""
    folder = seed_folder(runs, data.name, candidates[0].seed)
    identity = identify(
        *(one.digest for one in candidates), *SHAPES, len(data.test.labels), plan.seconds
    )
    places = {run: folder / "measured" / f"served-{run}.json" for run in range(1, plan.runs + 1)}
    kept = {run: read_kept(place, identity) for run, place in places.items()}
    missing = [run for run, samples in kept.items() if samples is None]
    if missing:
        measured = measure_times(
            candidates, folder / "models", data.test.pictures, missing, plan.seconds, console
        )
        for run, samples in zip(missing, measured, strict=True):
            kept[run] = keep(places[run], identity, partial(list, samples))
    return [sample for samples in kept.values() if samples is not None for sample in samples]
