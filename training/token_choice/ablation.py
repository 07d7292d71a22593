"""`python -m training.token_choice.ablation`: the last phase without some of its losses.

Four short trainings from the same labelled gates: with all losses, without the entropy loss,
without the diversity loss, and with neither. Prints how far the gates collapse, on held-out
pictures. Finished trainings are kept in `--runs`, interrupted ones resume.
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tokens.acm.network import count_dense
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet, Split, load_data
from training.fitting import vit
from training.fitting.dense_teacher import load_teacher
from training.fitting.in_process import learn
from training.fitting.route_teacher import RouteTeacher
from training.fitting.vit import spec_for
from training.token_choice import end_to_end
from training.token_choice.collapse import describe_collapse
from training.token_choice.end_to_end import EVERY_BUDGETS_WEIGHTS, LossWeights, judge
from training.token_choice.reading import load_acm
from training.token_choice.setting import Setting

PART = 0.25  # of an epoch
BETA = 0.5
JUDGED_ROWS = 1_000
LOSSES: Mapping[str, tuple[bool, bool]] = {  # entropy, diversity
    "ablation-all": (True, True),
    "ablation-no-entropy": (False, True),
    "ablation-no-diversity": (True, False),
    "ablation-budget-alone": (False, False),
}


def main() -> None:
    options = _parse()
    torch.set_num_threads(options.threads)
    try:
        data = load_data(options.data)
        taught_by = options.taught_by and RouteTeacher(options.taught_by, data)
        weights = LossWeights(budget=options.budget_weight)
        train(
            data, spec_for(data), options.teacher, options.gates, options.runs, Console(),
            part=options.part, beta=options.beta, weights=weights, taught_by=taught_by,
            seed=options.seed,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        sys.exit(str(error))


def train(
    data: DataSet,
    spec: VitSpec,
    teacher: Path,
    gates: Path,
    runs: Path,
    console: Console,
    *,
    part: float = PART,
    beta: float | None = None,
    weights: LossWeights | None = None,
    taught_by: RouteTeacher | None = None,
    seed: int = 1,
) -> None:
    """Train each on a part of an epoch, from the weights `gates` that the second phase left.

    `beta`: the only budget; None for every budget. Raises ValueError in one sentence for a part
    outside (0, 1], or files of another kind.
    """
    if not 0 < part <= 1:
        raise ValueError(f"part of an epoch: {part} given, above 0 to 1 allowed")
    if beta is not None and not 0 <= beta <= 1:
        raise ValueError(f"beta: {beta:g} given, 0 to 1 allowed")
    judged = BETA if beta is None else beta
    weights = weights or EVERY_BUDGETS_WEIGHTS
    rows = max(vit.BATCH_ROWS, round(part * len(data.train.labels)))
    some = replace(data, train=_cut(data.train, rows), held_out=_cut(data.held_out, JUDGED_ROWS))
    dense = load_teacher(teacher, spec)
    begun = hashlib.sha256(gates.read_bytes()).hexdigest()[:16] if gates.exists() else ""
    table = Table("losses", "MACs", "accuracy", "entropy", "difference", "commonest choice",
                  title=f"held-out pictures at a budget of {judged:g}")  # fmt: skip
    for name, (entropy, diversity) in LOSSES.items():
        setting = Setting(
            load_acm(gates, spec),
            dense,
            some,
            seed,
            f"{gates.name}={begun} {rows} data={data.identity}",
        )
        used = replace(
            weights,
            entropy=weights.entropy if entropy else 0.0,
            diversity=weights.diversity if diversity else 0.0,
        )
        job = end_to_end.make_job(
            setting, name=name, epochs=1, beta=beta, teacher=taught_by, weights=used
        )
        learn(job, runs, console)
        found = judge(setting.net, some.held_out, judged)
        spread = describe_collapse(setting.net, some.held_out, judged)
        table.add_row(
            name, f"{found.macs / count_dense(spec):.1%}", f"{found.accuracy:.2%}",
            f"{spread.entropy:.3f}", f"{spread.difference:.4f}", f"{spread.commonest:.1%}",
        )  # fmt: skip
    console.print(table)


def _cut(split: Split, rows: int) -> Split:
    return Split(split.pictures[:rows], split.labels[:rows])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--teacher", type=Path, required=True, help="the dense net's safetensors")
    parser.add_argument("--gates", type=Path, required=True, help="what the second phase left")
    parser.add_argument("--taught-by", type=Path, help="<route>/<version> that teaches")
    parser.add_argument("--runs", type=Path, default=Path("runs/acm-ablation"))
    parser.add_argument("--part", type=float, default=PART, help="of an epoch")
    parser.add_argument("--beta", type=float, help="the only budget; default: every budget")
    parser.add_argument("--budget-weight", type=float, default=EVERY_BUDGETS_WEIGHTS.budget)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
