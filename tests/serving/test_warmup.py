"""Warming up: what stages are given, and that nothing of it stays on the device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import ModelDirectoryError
from core.manifest import read_manifest
from core.messages import Batch, Next, Step
from monitoring.metrics.switched_off import NoMetrics
from serving import warmup
from serving.engine.catalog import ServedRoute
from serving.warmup import warm_up
from tests.fakes import generator
from tests.fakes.generator import write_generator
from tests.fakes.toys import (
    CountingHandle,
    ToyPipeline,
    ToyStage,
    final,
    onward,
    outcome,
    serve_toy,
    toy_manifest,
)


def test_every_stage_that_zeros_reach_has_a_predicted_time() -> None:
    light = ToyStage("light", lambda x: onward(x, "light", "large"))
    large = ToyStage("large", lambda x: final(x, "large"))
    served = serve_toy(light, large, max_batch=4)
    warm_up(served, OnnxDevice())
    assert {len(batch) for batch in large.batches} == {1, 4}
    assert all(lane.times.predict_s(4) > 0 for lane in served.lanes.values())


def test_a_slow_stage_is_run_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_ENOUGH_S", 0.0)
    stage = ToyStage("only", lambda x: final(x, "only"))
    warm_up(serve_toy(stage, max_batch=4), OnnxDevice())
    assert sorted(len(batch) for batch in stage.batches) == [1, 1, 4]  # one run is the row itself


@pytest.mark.parametrize("rows", [1, 3])
def test_no_more_rows_are_run_than_have_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    sizes: list[int] = []
    run = generator.Prefill.run

    def watch(stage: generator.Prefill, batch: Batch) -> Sequence[Step]:
        sizes.append(len(batch.states))
        return run(stage, batch)

    monkeypatch.setattr(generator.Prefill, "run", watch)
    device = TorchDevice(state_limit_bytes=rows * generator.STATE_BYTES)
    warm_up(serve_generator(tmp_path, device), device)
    assert set(sizes) == {1, rows}


def test_a_route_without_memory_for_one_row_is_refused(tmp_path: Path) -> None:
    device = TorchDevice(state_limit_bytes=generator.STATE_BYTES - 1)
    with pytest.raises(ModelDirectoryError, match=r"the shortest request needs .* bytes of state"):
        warm_up(serve_generator(tmp_path, device), device)


def serve_generator(root: Path, device: TorchDevice) -> ServedRoute:
    directory = write_generator(root)
    pipeline = generator.build(directory, device)
    counts = NoMetrics().add_route("toy-generator", list(pipeline.stages))
    return ServedRoute(read_manifest(directory), pipeline, counts)


def test_states_of_warm_up_runs_are_freed_once() -> None:
    handles: list[CountingHandle] = []

    def step(value: float) -> Step:
        handles.append(CountingHandle(value, 10))
        goes_on = Next("second", {"x": np.asarray(value)}, handles[-1])
        return Step(1, outcome(value, "first"), goes_on)

    second = ToyStage("second", lambda x: final(x, "second"))
    warm_up(serve_toy(ToyStage("first", step), second, max_batch=4), OnnxDevice())
    assert {handle.freed for handle in handles} == {1}


def test_a_text_input_is_warmed_up_with_empty_text() -> None:
    seen: list[object] = []

    class Reading:
        name = "reading"

        def run(self, rows: Batch) -> Sequence[Step]:
            seen.extend(rows.inputs["x"])
            return [final(0.0, self.name) for _ in rows.inputs["x"]]

    manifest = toy_manifest(["reading"])
    spec = manifest.inputs[0].model_copy(update={"datatype": "BYTES"})
    manifest = manifest.model_copy(update={"inputs": (spec,)})
    toy = serve_toy(Reading())
    warm_up(
        ServedRoute(manifest, ToyPipeline("reading", {"reading": Reading()}), toy.metrics),
        OnnxDevice(),
    )
    assert set(seen) == {""}


def test_a_stage_that_is_not_repeatable_gets_states_of_its_own_in_each_run(tmp_path: Path) -> None:
    device = TorchDevice()
    served = serve_generator(tmp_path, device)
    lengths: list[int] = []
    decode = served.lanes["decode"].stage

    class Watched:
        name = "decode"
        repeatable = False

        def run(self, rows: Batch) -> Sequence[Step]:
            lengths.extend(one.value.length for one in rows.states if one and one.value)
            return decode.run(rows)

    served.lanes["decode"].stage = Watched()
    warm_up(served, device)
    assert set(lengths) == {1}
    assert served.lanes["decode"].times.predict_s(32) > 0.0
