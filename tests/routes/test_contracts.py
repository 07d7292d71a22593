"""What every pipeline kind must keep. A new line in PIPELINES needs an example here and no test.

A toy generator keeps it too, as a reference for pipelines with states.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.devices.interface import Device
from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import ModelDirectoryError
from core.exit_names import NamesExits, find_exits
from core.messages import Array, Batch, Outcome, Pipeline, StateHandle, Step
from harness.tiny_routes import make_pictures, make_poison, write_route
from routes import loading
from routes.loading import LoadedRoute, load_route
from routes.offline import run_offline
from routes.table import PIPELINES, SEGMENTED
from tests.fakes import generator
from tests.fakes.tiny_acm import write_acm
from tests.fakes.tiny_kinds import (
    write_cbnet,
    write_encoder_only,
    write_exits,
    write_gated,
    write_model,
    write_multi_label,
)
from tests.fakes.tiny_vlm import (
    TOLERANCE,
    make_blocks,
    make_questions,
    make_white,
    write_vlm,
)

ROWS = 64
ONNX, TORCH = OnnxDevice(), TorchDevice()

Inputs = dict[str, npt.NDArray[Any]]
Make = Callable[[Path, int], Path]  # root, seed

EXAMPLES: Mapping[str, Make] = {
    "dual-cnn": lambda root, seed: write_route(root, stages=3, seed=seed, poison=True),
    "single": lambda root, seed: write_route(
        root, stages=1, seed=seed, poison=True, pipeline="single"
    ),
    "multi-label": lambda root, seed: write_multi_label(root, seed=seed),
    "model": lambda root, seed: write_model(root, seed=seed),
    "exits": lambda root, seed: write_exits(root, seed=seed),
    "cbnet": lambda root, seed: write_cbnet(root, seed=seed),
    "cbnet-gated": lambda root, seed: write_gated(root, seed=seed),
    "encoder-only": lambda root, seed: write_encoder_only(root, seed=seed),
    "acm": lambda root, seed: write_acm(root, seed=seed),
    "vlm": lambda root, seed: write_vlm(root, seed=seed),
    generator.KIND: lambda root, seed: generator.write_generator(root, seed=seed),
}
ON_TORCH = {generator.KIND, "vlm"}
WITHIN_TOLERANCE = {"vlm"}  # kinds whose confidence has rounding errors of the batch on torch


@pytest.fixture(autouse=True)
def _with_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {**PIPELINES, generator.KIND: generator.build}
    monkeypatch.setattr(loading, "PIPELINES", kinds)


def _on(kind: str) -> Device:
    return TORCH if kind in ON_TORCH else ONNX


def _inputs(kind: str, rows: int = ROWS) -> Inputs:
    if kind == "vlm":
        prompts = np.array(make_questions(rows), dtype=object)
        return {"prompt": prompts, "image": make_blocks(rows)[:, None]}
    return {"image": make_pictures(rows)}


def _poison(kind: str) -> npt.NDArray[np.uint8]:
    return make_white() if kind == "vlm" else make_poison()


def _load(kind: str, root: Path) -> LoadedRoute:
    return load_route(EXAMPLES[kind](root, 0), _on(kind))


def _run_batched(
    pipeline: Pipeline, inputs: Inputs, batch_rows: int, device: Device
) -> list[Outcome | None]:
    """Every stage in batches of `batch_rows`, survivors re-batched, until all rows are done."""
    rows = len(next(iter(inputs.values())))
    outcomes: list[Outcome | None] = [None] * rows
    begin: list[tuple[int, dict[str, Array], StateHandle | None]] = [
        (i, {k: v[i] for k, v in inputs.items()}, None) for i in range(rows)
    ]
    lanes = {pipeline.first: begin}
    while lanes:
        stage, queue = lanes.popitem()
        for start in range(0, len(queue), batch_rows):
            part = queue[start : start + batch_rows]
            names = part[0][1]
            collated = {name: device.collate([row[name] for _, row, _ in part]) for name in names}
            steps = pipeline.stages[stage].run(Batch(collated, {}, [state for *_, state in part]))
            assert len(steps) == len(part)
            for (index, *_), step in zip(part, steps, strict=True):
                outcomes[index] = step.answer
                if (following := step.next) is not None:
                    row = (index, dict(following.inputs), following.state)
                    lanes.setdefault(following.stage, []).append(row)
    return outcomes


def _write(array: npt.NDArray[Any]) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()


class _Near(float):
    """A number that equals those within the tolerance."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(self - other) <= TOLERANCE

    __hash__ = None  # type: ignore[assignment]


def _spell(outcome: Outcome | None, kind: str) -> object:
    """All bits of an outcome; where the kind has a tolerance, a confidence that allows for it."""
    if outcome is None:
        return None
    outputs = {
        name: (array.dtype.str, array.shape, _write(array))
        for name, array in outcome.outputs.items()
    }
    confidence = outcome.confidence
    return outputs, _Near(confidence) if kind in WITHIN_TOLERANCE else confidence, outcome.exit


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == {*PIPELINES, generator.KIND}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_rows_are_answered_in_order_and_bit_for_bit_alike_in_every_batch_size(
    kind: str, tmp_path: Path
) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = _inputs(kind)
    alone = [_spell(row.outcome, kind) for row in run_offline(pipeline, inputs, _on(kind))]
    assert len({str(spelling) for spelling in alone}) == ROWS  # so that a swap would show
    for batch_rows in range(1, ROWS + 1):
        batched = _run_batched(pipeline, inputs, batch_rows, _on(kind))
        assert [_spell(outcome, kind) for outcome in batched] == alone, f"batches of {batch_rows}"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_row_does_not_depend_on_the_order_of_its_companions(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = _inputs(kind)
    order = np.random.default_rng(0).permutation(ROWS)
    straight = _run_batched(pipeline, inputs, 16, _on(kind))
    shuffled = _run_batched(
        pipeline, {name: array[order] for name, array in inputs.items()}, 16, _on(kind)
    )
    expected = [_spell(straight[row], kind) for row in order.tolist()]
    assert [_spell(outcome, kind) for outcome in shuffled] == expected


@pytest.mark.parametrize("kind", EXAMPLES)
def test_two_threads_may_run_one_pipeline_at_once(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = _inputs(kind)
    flipped = {name: array[::-1].copy() for name, array in inputs.items()}
    expected = [_spell(outcome, kind) for outcome in _run_batched(pipeline, inputs, 8, _on(kind))]

    def use(turn: int) -> list[object]:
        given = flipped if turn % 2 else inputs
        found = [_spell(outcome, kind) for outcome in _run_batched(pipeline, given, 8, _on(kind))]
        return found[::-1] if turn % 2 else found

    with ThreadPoolExecutor(2) as threads:
        assert all(found == expected for found in threads.map(use, range(20)))


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_digest_changes_with_the_weights_and_only_then(kind: str, tmp_path: Path) -> None:
    digests = [
        load_route(EXAMPLES[kind](tmp_path / str(turn), seed), _on(kind)).pipeline.digest
        for turn, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_stray_change_of_any_file_is_noticed(kind: str, tmp_path: Path) -> None:
    loaded = _load(kind, tmp_path)
    directory = tmp_path / loaded.manifest.route / loaded.manifest.version
    for name in loaded.manifest.files:
        whole = (directory / name).read_bytes()
        (directory / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ModelDirectoryError, match="sha256"):
            load_route(directory, _on(kind))
        (directory / name).write_bytes(whole)
    text = (directory / "route.toml").read_text()
    (directory / "route.toml").write_text(text + "# a comment\n")
    assert load_route(directory, _on(kind)).pipeline.digest != loaded.pipeline.digest


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_row_that_gives_nan_fails_alone(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = _inputs(kind, 8)
    expected = [_spell(outcome, kind) for outcome in _run_batched(pipeline, inputs, 8, _on(kind))]
    inputs["image"][3] = _poison(kind)
    expected[3] = None
    assert [
        _spell(outcome, kind) for outcome in _run_batched(pipeline, inputs, 8, _on(kind))
    ] == expected


@pytest.mark.parametrize("kind", EXAMPLES)
def test_confidence_lies_between_zero_and_one_and_the_exit_is_a_stage_or_named(
    kind: str, tmp_path: Path
) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    for row in run_offline(pipeline, _inputs(kind), _on(kind)):
        assert row.outcome is not None
        assert 0 <= row.outcome.confidence <= 1
        assert row.outcome.exit in find_exits(pipeline)
        assert row.outcome.exit in row.stages or isinstance(pipeline, NamesExits)
        assert row.macs > 0


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_higher_min_confidence_runs_no_fewer_stages(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    lengths = [
        [
            len(set(row.stages))
            for row in run_offline(pipeline, _inputs(kind, 16), _on(kind), controls)
        ]
        for controls in ({}, {"min_confidence": 0.9}, {"min_confidence": 2.0})
    ]
    assert all(a <= b <= c for a, b, c in zip(*lengths, strict=True))
    assert set(lengths[2]) == {len(pipeline.stages)}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_kind_whose_last_stage_goes_on_from_features_says_so(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    (row,) = run_offline(pipeline, _inputs(kind, 1), _on(kind), {"min_confidence": 2.0})
    given = [_inputs(kind, 1), *(step.next.inputs for step in row.steps if step.next)][-1]
    assert (kind in {*SEGMENTED, generator.KIND}) == (
        "image" not in given
    )  # else its savings are counted wrongly


@pytest.mark.parametrize("kind", EXAMPLES)
def test_running_changes_nothing_it_was_given(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = _inputs(kind, 8)
    inputs["image"].setflags(write=False)
    controls = {"min_confidence": np.full(8, 0.9)}
    controls["min_confidence"].setflags(write=False)
    collated = {name: _on(kind).join([array]) for name, array in inputs.items()}
    steps: list[Step] = list(
        pipeline.stages[pipeline.first].run(Batch(collated, controls, [None] * 8))
    )
    assert len(steps) == 8


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_row_that_goes_on_keeps_no_batch_alive(kind: str, tmp_path: Path) -> None:
    pipeline = _load(kind, tmp_path).pipeline
    inputs = {name: _on(kind).join([array]) for name, array in _inputs(kind).items()}
    steps = pipeline.stages[pipeline.first].run(Batch(inputs, {}, [None] * ROWS))
    going = [step.next for step in steps if step.next is not None]
    assert (0 < len(going) < ROWS) == (len(pipeline.stages) > 1)
    for carried in (array for following in going for array in following.inputs.values()):
        owner = carried
        while owner.base is not None:
            owner = owner.base
        assert owner.size <= carried.size * len(going)
