"""`python -m training.token_baselines`: train what nets with learners are compared with.

All begin with the weights of one trained dense net, which also gets the further epochs. A finished
net is kept, an interrupted training resumes after its last whole epoch: run the same command again.
"""

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tokens.acm.network import count_dense
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet, load_data
from training.fitting.dense_teacher import identify, load_teacher
from training.fitting.in_process import learn
from training.fitting.route_teacher import RouteTeacher, Teacher
from training.fitting.vit import spec_for
from training.token_baselines.judging import judge
from training.token_baselines.methods import DENSE, METHODS
from training.token_baselines.setting import DenseTeacher, Setting

EPOCHS = 2


def main() -> None:
    options = _parse()
    torch.set_num_threads(options.threads)
    try:
        data = load_data(options.data)
        setting = prepare(data, spec_for(data), options.teacher, options.taught_by, options.seed)
        epochs = dict.fromkeys(options.only or METHODS, options.epochs)
        if DENSE in epochs:
            epochs[DENSE] = options.dense_epochs or options.epochs
        train(setting, options.runs, epochs, Console())
    except (ValueError, OSError) as error:
        sys.exit(str(error))


def prepare(
    data: DataSet, spec: VitSpec, teacher: Path, taught_by: Path | None, seed: int
) -> Setting:
    """The dense net in the file `teacher`, and what teaches: the route in the directory `taught_by`
    or that net itself. Raises ValueError in one sentence for files of another kind."""
    dense = load_teacher(teacher, spec)
    if dense.spec.has_class_token:
        raise ValueError(f"{teacher}: a net with a class token has no baselines here")
    identity = identify(teacher, dense)
    route: Teacher | None = None if taught_by is None else RouteTeacher(taught_by, data)
    return Setting(
        dense, data, route or DenseTeacher(dense, identity), seed, f"{spec} dense={identity}"
    )


def train(setting: Setting, runs: Path, epochs: dict[str, int], console: Console) -> None:
    """Train these methods for so many epochs, and say what each reaches on held-out pictures."""
    whole = count_dense(setting.dense.spec)
    table = Table("baseline", "at", "MACs", "of the dense net's", "accuracy", title="held-out")
    for name, count in epochs.items():
        job = METHODS[name].make_job(setting, name, count)
        learn(job, runs, console)
        for one in judge(job.net, setting.data.held_out, setting.data.held_out):
            share = f"{one.macs / whole:.1%}"
            table.add_row(name, one.at, f"{one.macs:,.0f}", share, f"{one.accuracy:.2%}")
    console.print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--teacher", type=Path, required=True, help="the dense net's safetensors")
    parser.add_argument(
        "--taught-by", type=Path, help="<route>/<version> that teaches; default: the dense net"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/acm-baselines"))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each baseline")
    parser.add_argument("--dense-epochs", type=int, help=f"of {DENSE}; default: as --epochs")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="train these alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
