"""A pool's training keeps what is finished and says what failed."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from training.data.sets import DataSet
from training.fitting.loop import is_finished
from training.fitting.pool import train_pool
from training.fitting.pool_net import fit, recipe_of
from training.nets.pools import NetSpec

LINE = '{"epoch": 1, "held_out_accuracy": 0.5}'


def test_finished_members_are_kept_and_the_others_trained_biggest_first(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    fit(tiny_pool[2], tiny_data, tmp_path, seed=1, epochs=1, report=lambda line: None)
    started: list[str] = []

    def command(spec: NetSpec) -> Sequence[str]:
        started.append(spec.name)
        return [sys.executable, "-c", f"print('{LINE}')"]

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    train_pool(
        tiny_pool,
        tiny_data,
        tmp_path,
        workers=1,  # two would race to be first in the list
        seed=1,
        epochs=1,
        command=command,
        console=console,
    )
    assert started == ["tiny-2", "tiny-1"]
    assert "kept" in screen.getvalue() and "held-out 50.00%" in screen.getvalue()


def test_a_failing_member_stops_the_others_and_is_named(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    def command(spec: NetSpec) -> Sequence[str]:
        wait = "import signal; signal.pause()"  # until it is stopped
        fault = "raise SystemExit('no memory left')"
        return [sys.executable, "-c", fault if spec.name == "tiny-2" else wait]

    with pytest.raises(ValueError, match="training of tiny-2 stopped: no memory left"):
        train_pool(
            tiny_pool, tiny_data, tmp_path, workers=3, seed=1, command=command, console=quiet()
        )


def test_weights_of_another_recipe_are_refused(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_pool[0], tiny_data, seed=1, epochs=1)
    assert not is_finished(tiny_pool[0].name, tmp_path, recipe)
    (tmp_path / "tiny-1.json").write_text(json.dumps({"recipe": "another"}))
    with pytest.raises(ValueError, match=r"tiny-1.json is of another recipe"):
        is_finished(tiny_pool[0].name, tmp_path, recipe)


def quiet() -> Console:
    return Console(file=io.StringIO())
