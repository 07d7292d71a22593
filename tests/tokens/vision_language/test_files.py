"""A model's two files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tokens.vision_language.conftest import SPEC
from tokens.vision_language.files import read_model, write_model
from tokens.vision_language.model import VisionLanguageModel
from tokens.vision_language.words import Vocabulary

WORDS = tuple(f"w{index}" for index in range(16))


def test_a_model_and_its_words_return(tmp_path: Path, model: VisionLanguageModel) -> None:
    write_model(model, Vocabulary(WORDS), tmp_path, "small")
    found, vocabulary = read_model(tmp_path, "small")
    assert found.spec == model.spec
    assert vocabulary.words[4:] == WORDS
    assert not found.training
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_weights_may_be_stored_in_half_the_size(tmp_path: Path, model: VisionLanguageModel) -> None:
    for name, dtype in (("whole", torch.float32), ("half", torch.float16)):
        write_model(model, Vocabulary(WORDS), tmp_path, name, dtype)
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    found, _ = read_model(tmp_path, "half")
    assert found.words.weight.dtype == torch.float32
    torch.testing.assert_close(found.words.weight, model.words.weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-9], "does not describe"),
        (lambda text: text.replace('"layers"', '"lairs"'), "unknown field lairs"),
        (lambda text: text.replace('"w3"', '"w4"'), "names a word twice"),
        (lambda text: json.dumps({**json.loads(text), "words": ["a"]}), "5 words, its .* 20"),
        (lambda text: text.replace('"layers": 4', '"layers": 5'), "does not fit small.json"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, model: VisionLanguageModel, change: "object", message: str
) -> None:
    write_model(model, Vocabulary(WORDS), tmp_path, "small")
    path = tmp_path / "small.json"
    assert callable(change)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        read_model(tmp_path, "small")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    write_model(VisionLanguageModel(replace(SPEC)), Vocabulary(WORDS), tmp_path, "small")
    path = tmp_path / "small.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"small.safetensors does not fit"):
        read_model(tmp_path, "small")
