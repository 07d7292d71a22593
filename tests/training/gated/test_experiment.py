"""An experiment's nets train in processes of their own and resume."""

import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from studies.converters.nets import NETS as STUDY
from tests.tiny_training import quiet
from training.data.sets import DataSet
from training.gated.experiment import Experiment, NetRecipe, train_net, train_nets
from training.gated.nets import NETS

ROOT = Path(__file__).parents[3]

# A process that trains on the made-up data, which has no files.
TRAIN = """
from tests.squares import make_squares_data
from training.gated import experiment
from training.gated.nets import NETS

experiment.load_data = lambda name: make_squares_data()
experiment.run_process(NETS)
"""


def test_nets_train_in_processes_and_what_is_finished_is_kept(
    tiny_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train_on_squares.py").write_text(TRAIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    nets = {name: NETS[name] for name in ("lenet", "branchynet")}
    experiment = Experiment(tiny_data, tmp_path / "runs", 1, 1, nets)
    train_net(experiment, "lenet", lambda line: None)
    before = (experiment.folder / "lenet.safetensors").stat().st_mtime_ns
    train_nets(experiment, "train_on_squares", 2, quiet())
    assert all(experiment.is_finished(name) for name in nets)
    assert (experiment.folder / "lenet.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in experiment.folder.glob("*.log")] == ["branchynet.log"]


@pytest.mark.parametrize(
    ("module", "nets"), [("training.gated.nets", NETS), ("studies.converters.nets", STUDY)]
)
def test_each_module_that_trains_knows_all_its_nets(
    module: str,
    nets: Mapping[str, NetRecipe],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit):
        runpy.run_module(module, run_name="__main__")
    assert f"{{{','.join(nets)}}}" in capsys.readouterr().out
