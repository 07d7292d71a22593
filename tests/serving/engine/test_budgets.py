"""Deadlines and energy budgets choose the budget of compute where a request leaves it open."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import DeadlineExceeded
from core.messages import Request
from harness.tiny_routes import make_pictures
from monitoring.metrics.collector import Metrics
from routes.loading import load_route
from serving.engine.budgets import TIME_USED
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from serving.scheduling.prediction import extra_s, predict_own_s
from tests.fakes.tiny_acm import write_acm
from tests.fakes.tiny_vlm import VISUAL_TOKENS, make_blocks, write_vlm
from tests.fakes.toys import with_engine

ROWS = 8  # are sorted at every budget up to the route's, 0.5
ROW_S = 100.0  # predicted; nothing runs for so long


def serve(root: Path, joules_per_s: float | None = None) -> ServedRoute:
    loaded = load_route(write_acm(root), OnnxDevice())
    served = ServedRoute(loaded.manifest, loaded.pipeline, Metrics().add_route("tiny", ["stage0"]))
    served.entry.times.calibrate(ROW_S, ROWS * ROW_S, ROWS)
    served.metrics.energy.joules_per_s = joules_per_s
    return served


def fit(served: ServedRoute, **fields: Any) -> float | None:
    """The budget that is chosen for a request; None: its own, or the route's."""

    async def use(engine: Engine) -> float | None:
        admitted = engine.admit(Request("tiny", {"image": make_pictures(ROWS)}, **fields))
        return None if admitted.controls is None else float(admitted.controls["compute"])

    return with_engine(use, served)


@pytest.mark.parametrize(
    ("seconds", "lowest", "highest"),
    [(2 * ROWS * ROW_S, None, None), (0.98 / TIME_USED * ROWS * ROW_S, 0.1, 0.45)],
)
def test_a_deadline_lowers_the_budget_only_as_far_as_it_must(
    tmp_path: Path, seconds: float, lowest: float | None, highest: float | None
) -> None:
    found = fit(serve(tmp_path), deadline=time.monotonic() + seconds)
    if lowest is None or highest is None:
        assert found is None
    else:
        assert found is not None and lowest <= found <= highest


@pytest.mark.parametrize("share", [0.99, 0.5])
def test_a_row_whose_lowered_budget_is_in_time_is_answered_and_others_are_refused(
    tmp_path: Path, share: float
) -> None:
    """The times are predicted; the tiny net takes a moment."""
    served = serve(tmp_path)
    deadline = time.monotonic() + share * ROWS * ROW_S
    request = Request("tiny", {"image": make_pictures(ROWS)}, deadline=deadline, no_cache=True)

    async def use(engine: Engine) -> None:
        if share < 0.9:  # even without learners
            with pytest.raises(DeadlineExceeded, match="predicted to need"):
                await engine.answer(request)
            return
        answers = (await engine.answer(request)).answers
        assert all(answer.outcome.exit < "beta_0.5" for answer in answers)

    with_engine(use, served)


@pytest.mark.parametrize("share", [0.6, 1.5])
def test_rows_of_any_budget_are_predicted_from_those_of_another(
    tmp_path: Path, share: float
) -> None:
    lane = serve(tmp_path).entry
    for _ in range(100):  # all of one budget
        lane.observe(ROWS, share * ROWS * ROW_S, share)
    expected = {one: pytest.approx(one * ROWS * ROW_S, rel=0.01) for one in (share, 1.0)}
    assert {one: predict_own_s(lane, ROWS, one) for one in expected} == expected
    more_s = predict_own_s(lane, ROWS, 1.0) - predict_own_s(lane, ROWS, share)
    assert extra_s(lane, ROWS, 1.0) == pytest.approx(more_s, rel=0.01)
    assert extra_s(lane, ROWS, share) == pytest.approx(0.0, abs=0.01 * ROW_S)


def test_a_lane_learns_the_budgets_of_its_rows(tmp_path: Path) -> None:
    served = serve(tmp_path)
    request = Request("tiny", {"image": make_pictures(ROWS)}, controls={"compute": 0.0})

    async def use(engine: Engine) -> float:
        admitted = engine.admit(request)
        await engine.answer(request, admitted)
        return admitted.cost_share

    share = with_engine(use, served)
    assert share < served.entry.mean_share < 1


@pytest.mark.parametrize("limit", ["energy", "time"])
def test_further_tokens_are_predicted_too(tmp_path: Path, limit: str) -> None:
    loaded = load_route(write_vlm(tmp_path), TorchDevice())
    counts = Metrics().add_route(loaded.manifest.route, list(loaded.pipeline.stages))
    served = ServedRoute(loaded.manifest, loaded.pipeline, counts)
    for stage, seconds in (("prefill", ROW_S), ("decode", ROW_S / 10)):
        served.lanes[stage].times.calibrate(seconds, ROWS * seconds, ROWS)
    served.metrics.energy.joules_per_s = 1e-3

    def fit_tokens(seconds: float) -> float | None:
        """What is chosen for an answer of six tokens: prefill takes 100 s, the others 50 s."""
        limits: dict[str, Any] = {"energy_mj": seconds}
        if limit == "time":
            limits = {"deadline": time.monotonic() + seconds / TIME_USED + 0.1}
        inputs = {"prompt": np.array(["a"], object), "image": make_blocks(1)[None]}
        request = Request(loaded.manifest.route, inputs, controls={"max_tokens": 6}, **limits)

        async def use(engine: Engine) -> float | None:
            admitted = engine.admit(request)
            return None if admitted.controls is None else admitted.controls.get("visual_tokens")

        return with_engine(use, served)

    assert fit_tokens(1.51 * ROW_S) is None
    fewer, fewest = fit_tokens(1.4 * ROW_S), fit_tokens(1.2 * ROW_S)
    assert fewer is not None and fewest is not None
    assert VISUAL_TOKENS > fewer > fewest


def test_a_default_answer_in_the_cache_is_better_than_a_lower_budget(tmp_path: Path) -> None:
    served = serve(tmp_path)
    request = Request("tiny", {"image": make_pictures(ROWS)})

    async def use(engine: Engine) -> None:
        await engine.answer(request)
        late = request._replace(deadline=time.monotonic() + ROW_S)
        answers = (await engine.answer(late)).answers
        assert {(one.outcome.exit, one.cached) for one in answers} == {("beta_0.5", True)}

    with_engine(use, served)


def test_budgets_above_the_default_cost_more_and_those_below_less(tmp_path: Path) -> None:
    served = serve(tmp_path)
    inputs = {"image": make_pictures(ROWS)}

    async def use(engine: Engine) -> list[float]:
        given = [Request("tiny", inputs, controls={"compute": beta}) for beta in (0.0, 0.5, 1.0)]
        return [engine.admit(one).cost_share for one in [*given, Request("tiny", inputs)]]

    low, middle, high, open_one = with_engine(use, served)
    assert low < middle == open_one == 1 < high


@pytest.mark.parametrize(
    ("joules_per_s", "energy_mj", "beta"),
    [(2.0, 2e5, None), (2.0, 1.94e5, 0.3), (2.0, 1.0, 0.0), (None, 1.0, None)],
)
def test_an_energy_budget_lowers_it_only_as_far_as_it_must_where_joules_are_known(
    tmp_path: Path, joules_per_s: float | None, energy_mj: float, beta: float | None
) -> None:
    assert fit(serve(tmp_path, joules_per_s), energy_mj=energy_mj) == beta


def test_a_budget_that_is_given_stays(tmp_path: Path) -> None:
    assert fit(serve(tmp_path, 2.0), energy_mj=1.0, controls={"compute": 0.9}) is None


def test_a_fitted_row_runs_at_its_budget_and_has_its_key(tmp_path: Path) -> None:
    served, pictures = serve(tmp_path, 2.0), make_pictures(ROWS)

    async def use(engine: Engine) -> None:
        limited = Request("tiny", {"image": pictures}, energy_mj=1.0)
        keys = {
            name: engine.admit(one).keys
            for name, one in {
                "fitted": limited,
                "given": limited._replace(controls={"compute": 0.0}),
                "open": limited._replace(energy_mj=None),
            }.items()
        }
        assert keys["fitted"] == keys["given"] != keys["open"]
        answers = (await engine.answer(limited)).answers
        assert {answer.outcome.exit for answer in answers} == {"beta_0.0"}
        plain = await engine.answer(limited._replace(energy_mj=None))
        assert {answer.outcome.exit for answer in plain.answers} == {"beta_0.5"}
        assert not any(answer.cached for answer in plain.answers)
        learners = [
            np.mean([answer.outcome.outputs["learners"] for answer in some])
            for some in (answers, plain.answers)
        ]
        assert learners[0] != learners[1]

    with_engine(use, served)
