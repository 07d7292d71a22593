"""Interrupted training leaves no process behind and says how to go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.waiting import wait_until

ROOT = Path(__file__).parents[2]

# `sparing train dual-cnn` with a recipe whose nets are processes that wait until they are ended.
TRAIN = """
import signal
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from sparing.cli import main
from training.data.sets import DataSet, Source, Split
from training.nets.pools import Conv, NetSpec
from training.fitting.pool import train_pool

WAIT = "import os, signal; open(str(os.getpid()) + '.pid', 'w').close(); signal.pause()"
split = Split(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64))
data = DataSet("none", Source("", {}, ("a",), 0.3, 0.3), split, split, split, "0" * 64)
pool = [NetSpec(f"tiny-{number}", (Conv(4, 4),), 1, erase=False) for number in range(3)]


def train(name, out, runs, *, workers, seed, epochs, quantise):
    command = lambda spec: [sys.executable, "-c", WAIT]
    train_pool(pool, data, runs, workers=workers, seed=seed, epochs=epochs, command=command)


recipe = sys.modules["training.dual_cnn"] = ModuleType("training.dual_cnn")
recipe.train = train
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
main(["train", "dual-cnn"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("heard_by", ["command", "group", "net"])  # a net may hear it first
def test_a_signal_ends_the_nets_processes_with_one_sentence(
    number: signal.Signals, heard_by: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        nets = await_nets(tmp_path, process, 2)
        if heard_by == "group":
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid if heard_by == "command" else nets[0], number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    left = [net for net in nets if is_alive(net)]
    for net in left:
        os.kill(net, signal.SIGKILL)
    assert left == []
    assert said == "sparing: interrupted; run the same command again to resume\n"
    assert process.returncode == 130
    assert len(list(tmp_path.glob("*.pid"))) == 2  # the third was never begun


def await_nets(folder: Path, process: "subprocess.Popen[str]", count: int) -> list[int]:
    """Their process numbers, as soon as so many wait."""

    def find() -> list[int]:
        return [int(path.stem) for path in folder.glob("*.pid")]

    def are_there() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        return len(find()) >= count

    wait_until(are_there, "the nets' processes do not begin", 60.0)
    return find()


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
