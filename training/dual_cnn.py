"""The recipe of dual complementary CNNs: a pool of nets, its best cascade, two routes.

After arXiv 2412.01039, with thresholds, temperatures, members and their order chosen on held-out
pictures alone; the test set is used once, after every choice is made. An interrupted training
resumes in the same `runs` folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from cascades.selection import Member, select
from core.classifiers.scores import fit_temperature
from training.choosing.replay import Plan, accuracy
from training.data.sets import DataSet, load_data
from training.export.classifiers import run_onnx
from training.export.cost import batch_limit, measure_us_per_picture
from training.export.members import ROUNDS, Measure, make_ready, measure_in_turns
from training.export.route_writer import RouteDraft, StageFiles, describe_making, write_route
from training.fitting.pool import train_pool
from training.nets.pools import POOLS, NetSpec
from training.reporting.findings import COST_BATCH, Findings
from training.reporting.pool_report import write_report

MAX_COST_FRACTION = 0.17  # of the strongest net's time: the goal is 0.2, and machines differ
TOLERANCE = 0.0  # within that cost the most accurate wins, not a cheaper one of similar accuracy
FIGURES, RESULTS = Path("docs/reports/img"), Path("benchmarks/results")


def train(
    data: str,
    out: Path,
    runs: Path,
    workers: int = 2,
    seed: int = 1,
    epochs: int | None = None,
    report: Path | None = None,
) -> list[Path]:
    """Train the pool, choose, write and measure the routes `<data>` and `<data>-large` in `out`.

    Returns the two route directories. `epochs` overrides each net's own number, for trying the
    recipe out; such a trial's figures and numbers go to `runs`, those of a full training to
    `docs/reports/img` and `benchmarks/results`, and to `report` where it is given. Raises
    ValueError in one sentence for unusable data or folders of another recipe.
    """
    trial = runs if epochs else None
    console = Console()
    data_set = load_data(data)
    pool = POOLS[data]
    train_pool(pool, data_set, runs, workers=workers, seed=seed, epochs=epochs, console=console)
    findings = choose(data_set, pool, runs, console=console)
    routes = write_routes(findings, out)
    write_report(findings, runs, report or trial or FIGURES, report or trial or RESULTS, console)
    return routes


def choose(
    data: DataSet,
    pool: Sequence[NetSpec],
    runs: Path,
    *,
    measure: Measure = measure_us_per_picture,
    max_cost_fraction: float = MAX_COST_FRACTION,
    console: Console,
) -> Findings:
    """Export and measure the pool, choose a cascade on held-out pictures, then run all on test."""
    ready = {
        spec.name: make_ready(spec, data, runs)
        for spec in track(pool, "exporting", console=console)
    }
    rounds = track(measure_in_turns(ready, measure), "measuring", total=ROUNDS, console=console)
    *_, ready = rounds
    labels = data.held_out.labels
    costs = {name: member.us_per_picture[COST_BATCH] for name, member in ready.items()}
    large = max(ready, key=lambda name: (accuracy(ready[name].held_out, labels), -costs[name]))
    with console.status("choosing among all cascades, on held-out pictures"):
        choice = select(
            [Member(name, member.held_out, costs[name]) for name, member in ready.items()],
            labels,
            reference=large,
            max_cost_fraction=max_cost_fraction,
            tolerance=TOLERANCE,
        )
    temperatures = {name: fit_temperature(m.held_out, labels) for name, m in ready.items()}
    return Findings(
        data=data,
        ready=ready,
        temperatures=temperatures,
        large=large,
        choice=choice,
        test={name: run_onnx(member.onnx, data.test.pictures) for name, member in ready.items()},
    )


def write_routes(findings: Findings, out: Path) -> list[Path]:
    """The chosen cascade and the strongest single net, as route directories."""
    data, chosen, large = findings.data, findings.choice.chosen, findings.large
    making = describe_making()
    alone = Plan(
        thresholds=(),
        temperatures=(findings.temperatures[large],),
        score=chosen.score,
        combine=chosen.combine,
    )
    return [
        write_route(out, draft)
        for draft in (
            _draft(data.name, findings, chosen.members, findings.plan, making),
            _draft(f"{data.name}-large", findings, (large,), alone, making),
        )
    ]


def _draft(
    route: str, findings: Findings, names: Sequence[str], plan: Plan, making: Mapping[str, Any]
) -> RouteDraft:
    data = findings.data
    members = [findings.ready[name] for name in names]
    held_out = findings.replay_held_out(names, plan)
    test = findings.replay_test(names, plan)
    thresholds = (*plan.thresholds, None)
    return RouteDraft(
        route=route,
        task=f"classify-{data.name}",
        pipeline="dual-cnn" if len(names) > 1 else "single",
        description=_describe(data.name, names),
        expected_macs=held_out.mean(findings.macs(names)),
        shape=data.train.pictures.shape[1:],
        labels=data.source.labels,
        stages=[
            StageFiles(
                m.name,
                m.onnx,
                m.description,
                m.macs,
                temperature,
                threshold,
                max_batch=batch_limit(m.us_per_picture[COST_BATCH]),
            )
            for m, temperature, threshold in zip(
                members, plan.temperatures, thresholds, strict=True
            )
        ],
        options={"score": plan.score, "combine": plan.combine},
        provenance={
            **making,
            "data": data.name,
            "data_identity": data.identity,
            "recipe": "training.dual_cnn",
            "seed": members[0].description["seed"],
            "epochs": [m.description["epochs"] for m in members],
            "training_precision": [m.description["precision"] for m in members],
            "thresholds_from": f"{len(data.held_out.labels)} held-out pictures",
            "held_out_accuracy": held_out.accuracy,
            "out_of_fold_accuracy": findings.choice.chosen.accuracy if len(names) > 1 else None,
            "test_accuracy": test.accuracy,
            "reached_on_test": list(test.reached),
            "us_per_picture": findings.costs_us(names),
        },
    )


def _describe(data: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{data}, the strongest single net of the pool: {names[0]}."
    return f"{data}, a cascade: {', then '.join(names)}, each only where those before are unsure."
