"""The kind `acm`: budgets of rows in one batch, what is counted, and which routes are refused."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.explaining import EXPLAIN
from core.messages import Batch, Step
from harness.tiny_routes import make_pictures
from tests.fakes.tiny_acm import SPEC, make_tiny_net, write_acm
from tokens.acm.pipeline import EXITS, AcmPipeline, AcmStage, Sorting, build, choose_exits

DEVICE = OnnxDevice()
ROWS = 12
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def pipeline(tmp_path: Path) -> AcmPipeline:
    return build(write_acm(tmp_path), DEVICE)


def run(pipeline: AcmPipeline, pictures: np.ndarray, **controls: Any) -> list[Step]:
    columns = {name: np.asarray(value, np.float64) for name, value in controls.items()}
    batch = Batch({"image": pictures}, columns, [None] * len(pictures))
    return list(pipeline.stages[pipeline.first].run(batch))


def spell(step: Step) -> object:
    assert step.answer is not None
    outputs = {name: value.tobytes() for name, value in step.answer.outputs.items()}
    return outputs, step.answer.confidence, step.answer.exit


def test_rows_of_one_batch_keep_their_own_budgets_as_if_alone(pipeline: AcmPipeline) -> None:
    pictures, betas = make_pictures(ROWS), np.linspace(0, 0.75, ROWS)
    stage = pipeline.stages[pipeline.first]
    assert stage.sorts(betas)
    together = run(pipeline, pictures, compute=betas)
    for row, beta in enumerate(betas):
        assert not stage.sorts(betas[row : row + 1])
        (alone,) = run(pipeline, pictures[row : row + 1], compute=[beta])
        assert spell(alone) == spell(together[row])


def test_a_row_without_a_budget_has_the_routes(tmp_path: Path) -> None:
    pictures = make_pictures(3)
    given = run(build(write_acm(tmp_path), DEVICE), pictures, compute=[0.2] * 3)
    small = build(write_acm(tmp_path, default=0.2, version="2"), DEVICE)
    assert [spell(step) for step in run(small, pictures)] == [spell(step) for step in given]


def test_the_budget_decides_how_many_learners_run(pipeline: AcmPipeline) -> None:
    pictures = make_pictures(ROWS)
    found = [run(pipeline, pictures, compute=[beta] * ROWS) for beta in (0.0, 0.5, 1.0)]
    learners = [
        [step.answer.outputs["learners"] for step in steps if step.answer] for steps in found
    ]
    assert np.shape(learners) == (3, ROWS, SPEC.layers)
    assert len({np.mean(one) for one in learners}) == 3


def test_macs_and_learners_are_those_of_the_choices_where_tokens_are_sorted(
    pipeline: AcmPipeline,
) -> None:
    pictures, betas = make_pictures(ROWS), np.linspace(0, 0.75, ROWS)
    net = make_tiny_net()
    steps = run(pipeline, pictures, compute=betas)
    beta = torch.from_numpy(betas.astype(np.float32))
    with torch.no_grad():
        _, choices = net(torch.from_numpy(pictures), beta)
    every, cost, stage = SPEC.tokens * 4, net.cost(), pipeline.stages[pipeline.first]
    assert stage.unsorted == (0, 1, 3, 4)  # projections: all their learners run
    for row, step in enumerate(steps):
        ran = [int(choice.learners_BT[row].sum()) for choice in choices]
        ran = [every if place in stage.unsorted else one for place, one in enumerate(ran)]
        assert step.macs == cost.count_sums(np.array([ran]))[0] < cost.most
    assert len({step.macs for step in steps}) > 1
    chosen = np.stack([choice.learners_BT.numpy() for choice in choices], axis=2)
    macs = np.array([module.learner_macs for module in net.modules_in_order()])
    costs = (chosen.mean(axis=1) * macs).reshape(ROWS, SPEC.layers, -1).sum(axis=2)
    expected = costs / macs.reshape(SPEC.layers, -1).sum(axis=1)
    given = [step.answer.outputs["learners"] for step in steps if step.answer]
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_where_nothing_is_sorted_all_learners_run_and_count(pipeline: AcmPipeline) -> None:
    (step,) = run(pipeline, make_pictures(1), compute=[0.1])
    assert step.macs == make_tiny_net().cost().most


@pytest.mark.parametrize(
    ("betas", "is_sorted"),
    [
        ([0.25], False),
        ([0.25] * 2, True),
        ([0.2, 0.3], True),
        ([0.2, 0.4], False),
        ([0.5] * 7, False),
        ([0.5] * 8, True),
        ([0.8] * 64, False),
    ],
)
def test_tokens_are_sorted_by_the_measured_table(
    pipeline: AcmPipeline, betas: list[float], is_sorted: bool
) -> None:
    assert pipeline.stages[pipeline.first].sorts(np.array(betas)) is is_sorted


@pytest.mark.parametrize(
    ("share", "rows", "beta"),
    [(1.0, 8, 0.5), (0.99, 8, 0.4), (0.95, 8, 0.2), (0.0, 8, 0.0), (-1.0, 8, 0.0)],
)
def test_the_budget_is_fitted_to_a_share_of_the_defaults_cost(
    pipeline: AcmPipeline, share: float, rows: int, beta: float
) -> None:
    stage = pipeline.stages[pipeline.first]
    assert pipeline.fit_budget(share, rows) == beta
    if share > 0:
        wanted = share * stage.predict_cost(0.5, rows)
        assert stage.predict_cost(beta, rows) <= wanted < stage.predict_cost(beta + 0.05, rows)


def test_a_budget_falls_only_where_that_saves_work(pipeline: AcmPipeline) -> None:
    assert pipeline.fit_budget(0.5, 1) == 0.5  # masked at any budget
    assert pipeline.fit_budget(0.9, 2) == 0.25  # the largest at which two rows are sorted


def test_measured_times_decide_instead_of_macs(tmp_path: Path) -> None:
    # sorted from 2 rows on up to 0.25, from 8 rows on up to 0.75
    table = [[0.0, 8, 50, 20], [0.5, 8, 50, 40], [0.0, 2, 50, 30], [0.5, 2, 50, 60]]
    pipeline = build(write_acm(tmp_path, change=_set("options", "times_us", value=table)), DEVICE)
    assert pipeline.predict_share(0.0, 8) == 20 / 40
    assert pipeline.predict_share(0.25, 8) == 30 / 40
    assert pipeline.predict_share(0.25, 2) == 45 / 50
    assert pipeline.predict_share(0.25, 5) == ((30 + 45) / 2) / 50
    assert pipeline.predict_share(0.9, 64) == 50 / 40  # masked, and the nearest number of rows
    assert pipeline.fit_budget(0.75, 8) == 0.25
    assert pipeline.fit_budget(0.4, 8) == 0.0  # the cheapest
    assert pipeline.fit_budget(0.9, 1) == 0.5  # masked at any budget


def test_the_exit_is_the_smallest_step_that_covers_the_budget(pipeline: AcmPipeline) -> None:
    betas = np.array([0.0, 0.05, 0.1, 0.25, 0.3, 0.1 + 0.2, 0.95, 1.0])
    exits = [EXITS[place] for place in choose_exits(betas)]
    steps = ["0.0", "0.1", "0.1", "0.3", "0.3", "0.3", "1.0", "1.0"]
    assert exits == [f"beta_{step}" for step in steps]
    answers = [step.answer for step in run(pipeline, make_pictures(8), compute=betas)]
    assert [answer.exit for answer in answers if answer] == exits


def test_choices_are_noted_only_for_a_picture(pipeline: AcmPipeline) -> None:
    stage = pipeline.stages[pipeline.first]
    pictures = make_pictures(2)
    for controls, noted in [({}, set()), ({EXPLAIN: np.array([1.0, np.nan])}, {"learners"})]:
        steps: Any = stage.run(Batch({"image": pictures}, controls, [None] * 2))
        assert set(steps.notes) == noted


def test_serving_it_imports_no_torch(tmp_path: Path) -> None:
    directory = write_acm(tmp_path)
    code = f"""
import sys
from pathlib import Path
import numpy as np
sys.modules["torch"] = sys.modules["onnx"] = None
from core.devices.onnx import OnnxDevice
from routes.loading import load_route
from routes.offline import run_offline
pictures = np.zeros((1, 28, 28), np.uint8)
pipeline = load_route(Path({str(directory)!r}), OnnxDevice()).pipeline
(row,) = run_offline(pipeline, {{"image": pictures}}, OnnxDevice(), {{"compute": 0.3}})
print(row.outcome.exit)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "beta_0.3"


def _set(*path: str | int, value: object) -> Change:
    def change(table: dict[str, Any]) -> None:
        place: Any = table
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("options", "speed", value=1), "options.speed"),
        (_set("options", "sorting", value=[{"beta": 2.0, "rows": 1}]), "options.sorting.0.beta"),
        (_set("options", "blocks", value=4), "options: 4 blocks, 6 gate_macs and 6 learner_macs"),
        (_set("options", "gate_macs", value=[1]), "1 gate_macs and 6 learner_macs"),
        (_set("options", "tokens", value=48), "stage stage0: has 1?[0-9]+ MACs, all learners"),
        (_set("stages", 0, "threshold", value=0.5), "the last stage stage0 has a threshold"),
        (_set("options", "times_us", value=[[0, 1, 5]]), "options.times_us: each line needs"),
        (
            _set("options", "times_us", value=[[0, 1, 5, 5], [0, 1, 4, 4]]),
            "options.times_us: 2 lines, needed is one for each of 1 budgets and 1 numbers of rows",
        ),
        (_set("options", "unsorted", value=[6]), r"options.unsorted: \[6\], modules are 0 to 5"),
        (_set("parameters", value={}), "parameters.compute: needed is a number from 0 to 1"),
        (
            _set("parameters", "compute", "max", value=2),
            "parameters.compute: needed is a number from 0 to 1",
        ),
        (_set("outputs", 2, "name", value="work"), "needed are label INT64 .* learners"),
        (_set("outputs", 2, "shape", value=[-1, 3]), r"needed is FP32 \[-1, 2\]"),
    ],
)
def test_a_directory_that_makes_no_such_pipeline_is_refused_and_the_fault_named(
    tmp_path: Path, change: Change, named: str
) -> None:
    directory = write_acm(tmp_path, change=change)
    with pytest.raises(ModelDirectoryError) as caught:
        build(directory, DEVICE)
    assert re.search(named, str(caught.value)), str(caught.value)
    assert str(directory) in str(caught.value)


def test_without_a_table_nothing_is_sorted(tmp_path: Path) -> None:
    directory = write_acm(tmp_path, change=_set("options", "sorting", value=[]))
    stage: AcmStage = build(directory, DEVICE).stages["stage0"]
    assert stage.sorting == ()
    assert not stage.sorts(np.zeros(64))


def test_the_table_may_come_in_any_order(tmp_path: Path) -> None:
    table = [{"beta": 0.75, "rows": 8}, {"beta": 0.25, "rows": 2}]
    directory = write_acm(tmp_path, change=_set("options", "sorting", value=table))
    stage = build(directory, DEVICE).stages["stage0"]
    assert stage.sorting == (Sorting(beta=0.25, rows=2), Sorting(beta=0.75, rows=8))
