"""The recipe of dual complementary CNNs: a pool of nets, its best cascade, two routes.

After arXiv 2412.01039, with thresholds, temperatures, members and their order chosen on held-out
pictures alone; the test set is used once, after every choice is made. Every net also has an int8
twin where that is accurate; the choice is among the files that a server would run here, and the
routes have both. An interrupted training
resumes in the same `runs` folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from cascades.candidates import Member
from cascades.selection import select
from core.classifiers.scores import fit_temperature
from training.choosing.replay import Plan, accuracy
from training.data.sets import DataSet, load_data
from training.export.classifiers import run_onnx
from training.export.cost import batch_limit, measure_us_per_picture
from training.export.members import ROUNDS, Measure, Ready, make_ready, measure_in_turns
from training.export.route_writer import RouteDraft, StageFiles, describe_making, write_route
from training.export.twins import (
    COST_BATCH,
    Quantise,
    find_faster,
    find_net,
    list_nets,
    make_twin,
)
from training.fitting.pool import train_pool
from training.nets.pools import NetSpec, find_pool
from training.reporting.findings import Findings
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
    quantise: Quantise | None = None,
) -> list[Path]:
    """Train the pool, choose, write and measure the routes `<data>` and `<data>-large` in `out`.

    Returns the two route directories. `epochs` overrides each net's own number, for trying the
    recipe out; such a trial's figures and numbers go to `runs`, those of a full training to
    `docs/reports/img` and `benchmarks/results`, and to `report` where it is given. Without
    `quantise` there are no int8 twins. Raises
    ValueError in one sentence for unusable data or folders of another recipe.
    """
    trial = runs if epochs else None
    console = Console()
    pool = find_pool(data)
    data_set = load_data(data)
    train_pool(pool, data_set, runs, workers=workers, seed=seed, epochs=epochs, console=console)
    findings = choose(data_set, pool, runs, quantise=quantise, console=console)
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
    quantise: Quantise | None = None,
    console: Console,
) -> Findings:
    """Export and measure the pool, choose a cascade on held-out pictures, then run all on test."""
    ready = {
        spec.name: make_ready(spec, data, runs)
        for spec in track(pool, "exporting", console=console)
    }
    if quantise is not None:
        ready |= _make_twins(ready, data, quantise, console)
    rounds = track(measure_in_turns(ready, measure), "measuring", total=ROUNDS, console=console)
    *_, ready = rounds
    return choose_among(ready, data, max_cost_fraction=max_cost_fraction, console=console)


def choose_among(
    ready: Mapping[str, Ready],
    data: DataSet,
    *,
    max_cost_fraction: float = MAX_COST_FRACTION,
    console: Console,
) -> Findings:
    """Choose a cascade among the faster files of all nets, then run all on test.

    A member's cost is the time of its float file, so that the cascade saves time on CPUs too on
    which int8 is not faster.
    """
    labels = data.held_out.labels
    costs = {name: member.us_per_picture[COST_BATCH] for name, member in ready.items()}
    nets = list_nets(ready)
    large = max(nets, key=lambda name: (accuracy(ready[name].held_out, labels), -costs[name]))
    faster = {net: ready[find_faster(net, ready)] for net in nets}
    with console.status("choosing among all cascades, on held-out pictures"):
        choice = select(
            [Member(one.name, one.held_out, costs[net]) for net, one in faster.items()],
            labels,
            reference=faster[large].name,
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


def _make_twins(
    ready: Mapping[str, Ready], data: DataSet, quantise: Quantise, console: Console
) -> dict[str, Ready]:
    made = [
        make_twin(net, data, quantise)
        for net in track(ready.values(), "quantising", console=console)
    ]
    return {twin.name: twin for twin in made if twin is not None}


def write_routes(findings: Findings, out: Path) -> list[Path]:
    """The chosen cascade and the strongest single net, as route directories."""
    data, chosen = findings.data, findings.choice.chosen
    large = find_faster(findings.large, findings.ready)
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
    members = [findings.ready[find_net(name, findings.ready)] for name in names]
    held_out = findings.replay_held_out(names, plan)
    test = findings.replay_test(names, plan)
    thresholds = (*plan.thresholds, None)
    return RouteDraft(
        route=route,
        task=f"classify-{data.name}",
        pipeline="dual-cnn" if len(names) > 1 else "single",
        description=_describe(data.name, [one.name for one in members]),
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
                int8=findings.find_twin(m.name),
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
            "measured_files": list(names),
            **_judge_both(findings, names, plan),
        },
    )


def _judge_both(findings: Findings, names: Sequence[str], plan: Plan) -> dict[str, float]:
    """The accuracy on test where a server runs one precision only."""
    return {
        f"{precision}_test_accuracy": findings.replay_test(
            findings.use_twins(names, int8=precision == "int8"), plan
        ).accuracy
        for precision in ("float32", "int8")
    }


def _describe(data: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{data}, the strongest single net of the pool: {names[0]}."
    return f"{data}, a cascade: {', then '.join(names)}, each only where those before are unsure."
