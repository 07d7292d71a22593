"""A published model through the real server: imported by the command, asked like any other."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs pip install transformers==5.24.0")

from core.devices.torch import TorchDevice
from routes.loading import load_route
from routes.offline import run_offline
from tests.fakes.tiny_transformers import LAYERS, SIZE, write_published
from tests.serving.chatting import ChatServer, make_part, serve_chats, text_of
from tokens.vision_language.serving.pipeline import VlmPipeline

PICTURE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
AVERAGES = (16.0, 7.0)


def run_import(root: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("sparing")), "import-vlm", "chat", *more]
    command += ["--out", str(root / "models")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_published_model_is_imported_and_answers_chats(tmp_path: Path) -> None:
    published = write_published("llava", tmp_path / "published")
    done = run_import(tmp_path, "--model", str(published), "--max-tokens", "8")
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "models" / "chat" / "1"
    place, needed = done.stdout.splitlines()
    assert place == str(directory)
    assert "Keys and values of the longest chat take" in needed
    pipeline = load_route(directory, TorchDevice()).pipeline
    assert isinstance(pipeline, VlmPipeline)
    expected = [_answer_offline(pipeline, average) for average in AVERAGES]

    async def use(server: ChatServer) -> None:
        content = [make_part(PICTURE), {"type": "text", "text": "a b c"}]
        said = [{"role": "user", "content": content}]
        found = await asyncio.gather(
            *[
                server.ask(model="chat", messages=said, visual_tokens=average)
                for average in AVERAGES
            ]
        )
        assert [text_of(one) for one in found] == [outputs["text"] for outputs in expected]
        for one, outputs in zip(found, expected, strict=True):
            kept = one["usage"]["visual_tokens_by_layer"]
            assert kept == outputs["visual_tokens"].tolist()
            assert len(kept) == LAYERS

    serve_chats(tmp_path / "models", use, tiny=False)


def _answer_offline(pipeline: VlmPipeline, average: float) -> dict[str, Any]:
    inputs = {"prompt": np.array(["a b c"], object), "image": PICTURE[None, None]}
    given = {**pipeline.parts.defaults, "visual_tokens": average}
    (row,) = run_offline(pipeline, inputs, TorchDevice(), given)
    assert row.outcome is not None
    return {name: np.asarray(value) for name, value in row.outcome.outputs.items()}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--model", "no/such/model"), "no/such/model: no such directory, and the hub gave"),
        (("--model", ".", "--drops", "2,x"), "given '2,x'"),
        (("--model", "EMPTY"), "no .safetensors file"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_sentence(
    tmp_path: Path, more: tuple[str, ...], sentence: str
) -> None:
    given = [str(tmp_path) if one == "EMPTY" else one for one in more]
    done = run_import(tmp_path, *given)
    assert done.returncode != 0
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
