"""Published models as routes: the server's stages answer as transformers itself generates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs pip install transformers==5.24.0")

import transformers
from safetensors.torch import load_file, save_file

from core.devices.torch import TorchDevice
from core.errors import InvalidInput, ModelDirectoryError
from core.messages import Batch
from importing.published.vision_language import Wanted, write_route
from routes.loading import load_route
from routes.offline import run_offline
from tests.fakes.tiny_transformers import IMAGE, LAYERS, MADE, SIZE, write_published
from tokens.vision_language.hugging_face.text import HuggingFaceWords
from tokens.vision_language.serving.pipeline import VlmPipeline

CPU = TorchDevice()
PICTURES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
WANTED = Wanted(size_px=SIZE, max_tokens=8, max_pictures=2, context=256)


@pytest.fixture(scope="module", params=list(MADE))
def route(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    published = write_published(request.param, root / "published")
    return write_route(str(published), "chat", root / "models", WANTED).directory


@pytest.fixture(scope="module")
def pipeline(route: Path) -> VlmPipeline:
    loaded = load_route(route, CPU).pipeline
    assert isinstance(loaded, VlmPipeline)
    return loaded


def answer(pipeline: VlmPipeline, rows: list[tuple[str, list[int]]], **given: Any) -> list[Any]:
    """The outputs of prompts with these pictures."""
    found = []
    for prompt, chosen in rows:
        inputs = {"prompt": np.array([prompt], object), "image": PICTURES[chosen][None]}
        (one,) = run_offline(pipeline, inputs, CPU, {**pipeline.parts.defaults, **given})
        assert one.outcome is not None
        found.append(one.outcome.outputs)
    return found


def generate(route: Path, pipeline: VlmPipeline, prompt: str, chosen: list[int]) -> list[int]:
    """The tokens that transformers itself generates, without the end."""
    library: Any = transformers
    model = library.AutoModelForImageTextToText.from_pretrained(route).eval()
    processor = library.AutoImageProcessor.from_pretrained(route)
    ids = torch.tensor([pipeline.parts.template.read(prompt, len(chosen)).ids])
    shown = processor(images=list(PICTURES[chosen]), return_tensors="pt") if chosen else {}
    if model.config.model_type == "qwen2_5_vl":
        shown = {**shown, "mm_token_type_ids": (ids == IMAGE).int()}
    with torch.no_grad():
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **shown, max_new_tokens=8,
            do_sample=False,
        )  # fmt: skip
    new: list[int] = made[0, ids.shape[1] :].tolist()
    return new[: new.index(2)] if 2 in new else new


@pytest.mark.parametrize("chosen", [[0], [], [1, 2]])
def test_answers_are_those_of_transformers(
    route: Path, pipeline: VlmPipeline, chosen: list[int]
) -> None:
    (found,) = answer(pipeline, [("a b c", chosen)], max_tokens=8)
    assert found["tokens"].tolist() == generate(route, pipeline, "a b c", chosen)
    sizes = pipeline.parts.backbone.sizes
    assert found["visual_tokens"].tolist() == [sizes.visual_tokens * len(chosen)] * LAYERS


def test_rows_of_one_batch_have_different_schedules_and_the_answers_of_each_alone(
    pipeline: VlmPipeline,
) -> None:
    tokens = pipeline.parts.backbone.sizes.visual_tokens
    schedule = pipeline.parts.schedules
    averages = [float(tokens), (tokens + schedule.least) / 2, schedule.least + 0.5]
    prompts = ["a b", "c d e f", "g"]
    alone = []
    for row, average in enumerate(averages):
        given = {"visual_tokens": average, "max_tokens": 4}
        alone += answer(pipeline, [(prompts[row], [row])], **given)
    controls = {"visual_tokens": np.array(averages), "max_tokens": np.array([4] * 3)}
    images = np.empty(3, object)
    images[:] = [torch.from_numpy(PICTURES[[row]]) for row in range(3)]
    step: Any = pipeline.stages["prefill"].run(
        Batch({"prompt": np.array(prompts, object), "image": images}, controls, [None] * 3)
    )
    states = [one.next.state for one in step if one.next is not None]
    while states:
        step = pipeline.stages["decode"].run(Batch({}, {}, states))
        states = [one.next.state for one in step if one.next is not None]
    for one, expected in zip(step, alone, strict=True):
        assert one.answer.outputs["tokens"].tolist() == expected["tokens"].tolist()
        kept = one.answer.outputs["visual_tokens"]
        assert kept.tolist() == expected["visual_tokens"].tolist()
    assert alone[0]["visual_tokens"][-1] > alone[2]["visual_tokens"][-1]


def test_messages_go_through_the_models_own_template(pipeline: VlmPipeline) -> None:
    said = [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    ids = pipeline.parts.template.read(json.dumps(said), 1).ids
    text = [one for one in ids if one != IMAGE]
    assert len(ids) - len(text) == pipeline.parts.backbone.sizes.visual_tokens
    words = pipeline.parts.template.vocabulary.decode(text)
    assert words == "system : a user : . b assistant : c user : d assistant :"
    assert ids[0] == 1


def test_the_mark_of_a_picture_in_a_text_is_refused(pipeline: VlmPipeline) -> None:
    for mark in ("<image>", "</s>"):
        with pytest.raises(InvalidInput, match=f"given a text with {mark}, which has a meaning"):
            pipeline.parts.template.read(f"a {mark} b", 0)


def test_what_a_row_needs_is_counted_before(pipeline: VlmPipeline) -> None:
    given = {**pipeline.parts.defaults, "max_tokens": 3}
    inputs = {"prompt": np.array(["a"], object), "image": PICTURES[[0]][None]}
    (need,) = pipeline.state_bytes(inputs, given)
    images = np.empty(1, object)
    images[0] = torch.from_numpy(PICTURES[[0]])
    controls = {"max_tokens": np.array([3])}
    (step,) = pipeline.stages["prefill"].run(
        Batch({"prompt": inputs["prompt"], "image": images}, controls, [None])
    )
    assert step.next is not None
    assert step.next.state is not None
    assert step.next.state.size_bytes == need


def test_a_route_says_its_library_and_its_drops(route: Path) -> None:
    manifest = load_route(route, CPU).manifest
    assert manifest.options["library"] == "transformers"
    assert manifest.options["drops"] == [1, 2, 3]
    assert manifest.stages[0].macs > manifest.stages[1].macs > 0
    assert manifest.parameters["max_tokens"].max == 8


def test_positions_of_three_axes_are_kept(tmp_path: Path) -> None:
    published = write_published("qwen2_5_vl", tmp_path / "published")
    route = write_route(str(published), "chat", tmp_path / "models", WANTED).directory
    path = route / "route.toml"
    path.write_text(path.read_text().replace('positions = "kept"', 'positions = "compacted"'))
    with pytest.raises(ModelDirectoryError, match=r"/1: options\.positions: given compacted"):
        load_route(route, CPU)


def test_a_model_without_a_template_is_refused(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    for path in published.glob("*.jinja"):
        path.unlink()
    with pytest.raises(ValueError, match="the model has no chat template"):
        write_route(str(published), "chat", tmp_path / "models", WANTED)
    assert not (tmp_path / "models").exists()


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no \.safetensors file"):
        write_route(str(tmp_path), "chat", tmp_path / "models", WANTED)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    path = published / "model.safetensors"
    weights = load_file(path)
    del weights["language_model.model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"the weights lack .*q_proj\.weight and 0 others"):
        write_route(str(published), "chat", tmp_path / "models", WANTED)


def test_code_of_a_model_is_not_run(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    config = json.loads((published / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (published / "config.json").write_text(json.dumps(config))
    (published / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ValueError, match=r"trust_remote_code|custom code"):
        write_route(str(published), "chat", tmp_path / "models", WANTED)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"drops": (0, 2)}, r"drops: given \[0, 2\], allowed layers 1 to 3"),
        ({"drops": (2, 9)}, r"drops: given \[2, 9\]"),
        ({"context": 10}, r"context: given 10 tokens, allowed \d+ \(for 2 pictures"),
        ({"context": 9999}, r"context: given 9999 tokens, allowed \d+ .* to 512"),
    ],
)
def test_what_the_model_cannot_run_is_not_written(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    published = write_published("llava", tmp_path / "published")
    with pytest.raises(ValueError, match=sentence):
        write_route(str(published), "chat", tmp_path / "models", replace(WANTED, **change))
    assert not (tmp_path / "models" / "chat").exists()


def test_the_route_fits_the_memory_that_is_told(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    written = write_route(str(published), "chat", tmp_path / "models", WANTED)
    loaded = load_route(written.directory, CPU)
    assert isinstance(loaded.pipeline, VlmPipeline)
    assert {stage.max_batch for stage in loaded.manifest.stages} == {4}
    sizes = loaded.pipeline.parts.backbone.sizes
    picture_bytes = sizes.visual_tokens * sizes.decoder.width * 4
    assert loaded.manifest.options["features_limit_bytes"] == 4 * 2 * picture_bytes
    inputs = {"prompt": np.array(["a"], object), "image": PICTURES[[0, 1]][None]}
    needed = int(loaded.pipeline.state_bytes(inputs, {"max_tokens": 8})[0])
    assert needed <= written.state_bytes
    assert written.state_bytes == 2 * sizes.decoder.key_width * 256 * 4 * sizes.decoder.layers


def test_only_weights_are_linked(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    route = write_route(str(published), "chat", tmp_path / "models", WANTED).directory
    linked = {path.name for path in route.iterdir() if path.stat().st_nlink > 1}
    assert linked == {"model.safetensors"}


def test_characters_of_several_tokens_never_flicker() -> None:
    text = "a你好b"

    class Bytes:
        """Each byte is a token; a run with half a character is not readable at all."""

        all_special_tokens = ()

        def decode(self, ids: list[int], **_: bool) -> str:
            try:
                return bytes(ids).decode()
            except UnicodeDecodeError:
                return "a" + "\ufffd" * (len(ids) - 1)

    ids = list(text.encode())
    words = HuggingFaceWords(Bytes(), [0])
    shown = [words.decode(ids[:size]) for size in range(1, len(ids) + 1)]
    assert shown == ["a", "a", "a", "a你", "a你", "a你", "a你好", text]


def test_a_name_that_is_neither_a_directory_nor_the_hubs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such directory, and the hub gave nothing"):
        write_route("no/such/model", "chat", tmp_path / "models", WANTED)
