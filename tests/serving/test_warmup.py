"""Warming up: what stages are given, and that nothing of it stays on the device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.manifest import read_manifest
from core.messages import Batch, Next, Step
from monitoring.metrics.switched_off import NoMetrics
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
    directory = write_generator(tmp_path)
    pipeline = generator.build(directory, device)
    manifest = read_manifest(directory)
    counts = NoMetrics().add_route("toy-generator", list(pipeline.stages))
    served = ServedRoute(manifest, pipeline, counts)
    lengths: list[int] = []
    decode = pipeline.stages["decode"]

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
