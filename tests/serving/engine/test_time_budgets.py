"""A deadline lowers the visual tokens of a prompt, so that its first stage ends in time."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from core.devices.torch import TorchDevice
from core.messages import Request
from monitoring.metrics.collector import Metrics
from routes.loading import load_route
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.tiny_vlm import ROUTE, VISUAL_TOKENS, make_blocks, write_vlm
from tests.fakes.toys import with_engine

ROW_S = 1000.0  # predicted; nothing runs for so long


def serve(root: Path) -> ServedRoute:
    loaded = load_route(write_vlm(root), TorchDevice())
    stages = list(loaded.pipeline.stages)
    served = ServedRoute(loaded.manifest, loaded.pipeline, Metrics().add_route(ROUTE, stages))
    served.entry.times.calibrate(ROW_S, 8 * ROW_S, 8)
    return served


def fit(root: Path, pictures: int = 1, **fields: Any) -> float | None:
    """The visual tokens that are chosen for a request; None: its own, or the route's."""
    served = serve(root)
    inputs = {"prompt": np.array(["a"], object), "image": make_blocks(pictures)[None]}

    async def use(engine: Engine) -> float | None:
        admitted = engine.admit(Request(ROUTE, inputs, **fields))
        return None if admitted.controls is None else float(admitted.controls["visual_tokens"])

    return with_engine(use, served, devices=[TorchDevice()])


def test_a_deadline_before_the_predicted_end_lowers_it_as_far_as_it_must(tmp_path: Path) -> None:
    found = [
        fit(tmp_path, deadline=time.monotonic() + left_s) or 0.0 for left_s in (10.0, 700.0, 900.0)
    ]
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < VISUAL_TOKENS


def test_a_later_deadline_changes_nothing(tmp_path: Path) -> None:
    assert fit(tmp_path, deadline=time.monotonic() + 2 * ROW_S) is None


def test_tokens_that_are_given_stay(tmp_path: Path) -> None:
    controls = {"visual_tokens": 12.0}
    assert fit(tmp_path, deadline=time.monotonic() + 10.0, controls=controls) is None


def test_a_prompt_without_pictures_or_with_its_own_schedule_is_left_alone(tmp_path: Path) -> None:
    deadline = time.monotonic() + 2 * ROW_S
    controls = {"drop_layers": (1,), "drop_shares": (0.5,)}
    assert fit(tmp_path, pictures=0, deadline=deadline) is None
    assert fit(tmp_path, deadline=deadline, controls=controls) is None


def test_a_prompt_that_reads_less_is_answered_before_its_deadline(tmp_path: Path) -> None:
    served = serve(tmp_path)
    inputs = {"prompt": np.array(["a"], object), "image": make_blocks(1)[None]}

    async def use(engine: Engine) -> None:
        deadline = time.monotonic() + 0.9 * ROW_S
        (answer,) = (await engine.answer(Request(ROUTE, inputs, deadline=deadline))).answers
        assert answer.outcome.outputs["visual_tokens"].mean() < VISUAL_TOKENS

    with_engine(use, served, devices=[TorchDevice()])
