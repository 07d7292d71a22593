"""The route answers as the model alone, and refuses rows and directories that it cannot run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import InvalidInput, ModelDirectoryError
from core.messages import Batch
from core.parameters import find_defaults
from routes.loading import load_route
from routes.offline import OfflineRow, run_offline
from tests.fakes.tiny_vlm import (
    CONTEXT,
    LAYERS,
    SPEC,
    VISUAL_TOKENS,
    VOCABULARY,
    make_blocks,
    make_model,
    make_questions,
    write_vlm,
)
from tokens.pyramid_drop.schedule import for_average
from tokens.vision_language.asking import answer
from tokens.vision_language.model import Dropping
from tokens.vision_language.serving.pipeline import VlmPipeline
from tokens.vision_language.serving.stages import Prefill

DEVICE = TorchDevice()
ROWS = 6
PICTURES, QUESTIONS = make_blocks(ROWS), make_questions(ROWS)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> VlmPipeline:
    loaded = load_route(write_vlm(tmp_path_factory.mktemp("models")), DEVICE).pipeline
    assert isinstance(loaded, VlmPipeline)
    return loaded


def run(pipeline: VlmPipeline, prompt: str, pictures: np.ndarray, **given: Any) -> OfflineRow:
    inputs = {"prompt": np.array([prompt], object), "image": pictures[None]}
    (row,) = run_offline(pipeline, inputs, DEVICE, {**pipeline.parts.defaults, **given})
    return row


def text_of(row: OfflineRow) -> str:
    assert row.outcome is not None
    text: str = row.outcome.outputs["text"].item()
    return text


@pytest.mark.parametrize("average", [16.0, 9.0, 5.0])
def test_answers_are_those_of_the_model_alone(pipeline: VlmPipeline, average: float) -> None:
    how = Dropping()
    if average < VISUAL_TOKENS:
        how = Dropping(for_average((1, 2, 3), LAYERS, VISUAL_TOKENS, average))
    for question, picture in zip(QUESTIONS, PICTURES, strict=True):
        shown = torch.from_numpy(picture[None])
        (expected,) = answer(make_model(), VOCABULARY, [question], shown, how, max_words=6)
        row = run(pipeline, question, picture[None], visual_tokens=average)
        assert text_of(row) == expected
        assert row.outcome is not None
        kept = row.outcome.outputs["visual_tokens"]
        assert kept.tolist() == list(how.schedule.counts(VISUAL_TOKENS, LAYERS))


def test_rows_with_different_schedules_share_a_batch(pipeline: VlmPipeline) -> None:
    averages = [16.0, 5.0, 9.0, 5.0, 16.0, 9.0]
    alone = [
        run(pipeline, question, picture[None], visual_tokens=average, max_tokens=1)
        for question, picture, average in zip(QUESTIONS, PICTURES, averages, strict=True)
    ]
    prefill = pipeline.stages["prefill"]
    assert isinstance(prefill, Prefill)
    batch = Batch(
        {
            "prompt": np.array(QUESTIONS, object),
            "image": torch.from_numpy(PICTURES[:, None].copy()),
        },
        {"visual_tokens": np.array(averages), "max_tokens": np.ones(ROWS, np.int64)},
        [None] * ROWS,
    )
    for step, row in zip(prefill.run(batch), alone, strict=True):
        assert step.answer is not None
        assert row.outcome is not None
        for name, found in step.answer.outputs.items():
            assert np.array_equal(found, row.outcome.outputs[name]), name
        assert step.macs == row.macs or step.macs > row.macs  # alone, its features were known
        assert step.answer.exit == row.outcome.exit


@pytest.mark.parametrize("pictures", [0, 1, 2])
@pytest.mark.parametrize("average", [16.0, 5.0])
def test_a_row_holds_the_bytes_that_were_reserved(
    pipeline: VlmPipeline, pictures: int, average: float
) -> None:
    shown = PICTURES[:pictures]
    given = {"visual_tokens": average, "max_tokens": 4}
    inputs = {"prompt": np.array(["a b c"], object), "image": shown[None]}
    (need,) = pipeline.state_bytes(inputs, {**pipeline.parts.defaults, **given})
    row = run(pipeline, "a b c", shown, min_confidence=2.0, **given)
    states = [step.next.state for step in row.steps if step.next is not None]
    assert states
    assert {state.size_bytes for state in states if state is not None} == {need}


@pytest.mark.parametrize(
    ("prompt", "pictures", "given", "sentence"),
    [
        ("a zebra", 1, {}, "zebra"),
        ("a", 3, {}, "given 3 pictures, allowed 2"),
        (" ".join("a" * 50), 1, {}, f"allowed {CONTEXT} together"),
        ("a" * 10_000, 1, {}, "given 10000 characters, allowed 1024"),
        ("a", 1, {"drop_layers": (7,), "drop_shares": (0.5,)}, "layer 7 is not possible"),
        ("a", 1, {"stop": ("",)}, "empty"),
    ],
)
def test_a_row_that_cannot_run_is_refused_before_it_starts(
    pipeline: VlmPipeline, prompt: str, pictures: int, given: dict[str, Any], sentence: str
) -> None:
    inputs = {"prompt": np.array([prompt], object), "image": make_blocks(pictures)[None]}
    with pytest.raises(InvalidInput, match=sentence):
        pipeline.state_bytes(inputs, {**pipeline.parts.defaults, **given})


def test_an_answer_ends_before_a_stop_string_and_at_its_length(pipeline: VlmPipeline) -> None:
    asked = zip(QUESTIONS, PICTURES, strict=True)
    rows = [run(pipeline, question, picture[None]) for question, picture in asked]
    texts = [text_of(row).split() for row in rows]
    place = max(range(ROWS), key=lambda row: len(texts[row]))
    words = texts[place]
    assert len(words) > 2
    stopped = run(pipeline, QUESTIONS[place], PICTURES[place][None], stop=(f" {words[1]}",))
    assert text_of(stopped) == words[0]
    assert stopped.outcome is not None
    assert stopped.outcome.outputs["finish"].item() == "stop"
    cut = run(pipeline, QUESTIONS[place], PICTURES[place][None], max_tokens=2)
    assert text_of(cut) == " ".join(words[:2])
    assert cut.outcome is not None
    assert cut.outcome.outputs["finish"].item() == "length"
    assert stopped.outcome.confidence == pytest.approx(cut.outcome.confidence)  # of two tokens


def test_a_seed_decides_what_is_drawn(pipeline: VlmPipeline) -> None:
    def draw(seed: int) -> str:
        return text_of(run(pipeline, "a", PICTURES[:1], temperature=2.0, seed=seed))

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(8)}) > 1


def test_a_picture_is_computed_once_for_all_questions(pipeline: VlmPipeline) -> None:
    shown = make_blocks(1, seed=99)
    first, again = (run(pipeline, question, shown, max_tokens=1) for question in ("a", "b"))
    assert first.macs > again.macs


def test_a_smaller_share_of_a_budget_reads_fewer_tokens(pipeline: VlmPipeline) -> None:
    found = [pipeline.fit_budget(share, 1) for share in (1.0, 0.8, 0.6, 0.0)]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (VISUAL_TOKENS, pipeline.parts.schedules.least)


def _set(table: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        table = table[name]
    table[last] = value


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "options": (lambda table: _set(table, "options.depth", 3), "depth"),
    "context": (lambda table: table["options"].pop("context"), "context"),
    "drops": (lambda table: _set(table, "options.drops", [3, 2]), "options.drops"),
    "early drops": (
        lambda table: _set(table, "options.early_drops", [2, 1]),
        "options.early_drops",
    ),
    "deep drops": (lambda table: _set(table, "options.drops", [4]), "options.drops"),
    "outputs": (lambda table: table["outputs"].pop(), "outputs: given"),
    "inputs": (lambda table: _set(table["inputs"][1], "shape", [-1, -1, 8, 8, 3]), "picture"),
    "parameters": (lambda table: table["parameters"].pop("seed"), "parameters.seed"),
    "stages": (lambda table: table["stages"].reverse(), "stages: needed are prefill and decode"),
    "files": (lambda table: table["files"].pop("tiny.json"), "tiny.json is not in"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_directory_that_does_not_fit_its_model_is_refused(fault: str, tmp_path: Path) -> None:
    change, sentence = FAULTS[fault]

    def edit(table: dict[str, Any]) -> None:
        change(table)

    directory = write_vlm(tmp_path, change=edit)
    with pytest.raises(ModelDirectoryError, match=sentence):
        load_route(directory, DEVICE)


def test_a_device_of_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="runtime torch"):
        load_route(write_vlm(tmp_path), OnnxDevice())


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokens.vision_language.serving.route.find_spec", lambda name: None)
    with pytest.raises(ModelDirectoryError, match=r"needs the extra vlm .*EXTRAS=vlm"):
        load_route(write_vlm(tmp_path), OnnxDevice())


def test_all_declared_parameters_have_defaults(tmp_path: Path) -> None:
    manifest = load_route(write_vlm(tmp_path), DEVICE).manifest
    assert find_defaults(manifest.parameters)["visual_tokens"] == SPEC.visual_tokens
