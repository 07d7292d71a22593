"""Requests of a trace, and a load that asks them."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pyramid_drop.chats import Chat, make_bodies, read_trace, scale
from benchmarks.pyramid_drop.names import ALONE, FULL, served
from benchmarks.pyramid_drop.served import ROUTES, copy_routes, measure_served
from core.devices.torch import TorchDevice
from routes.loading import load_route
from tests.fakes.tiny_vlm import SIZE, write_vlm

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023,2048,28\n2023,100,1\n2023,90000,900\n"


@pytest.mark.parametrize(
    ("prompt", "answer", "chat"),
    [(2048, 28, Chat(16, 7)), (1, 1, Chat(4, 1)), (10**6, 10**6, Chat(64, 60))],
)
def test_lengths_are_scaled_within_bounds(prompt: int, answer: int, chat: Chat) -> None:
    assert scale(prompt, answer) == chat


def test_a_trace_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    assert read_trace(path, 2) == [Chat(16, 7), Chat(4, 1)]


def test_bodies_have_the_wanted_lengths_and_their_pictures() -> None:
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    pictures[1] = 255
    chats = [Chat(5, 3), Chat(4, 2), Chat(9, 1)]
    bodies = [
        json.loads(body)
        for body in make_bodies(chats, pictures, ["a", "b"], "small", {"visual_tokens": 9.0})
    ]
    asked = [body["messages"][0]["content"] for body in bodies]
    assert [len(one[1]["text"].split()) + 2 for one in asked] == [5, 4, 9]
    urls = [one[0]["image_url"]["url"] for one in asked]
    assert urls[0] == urls[2] != urls[1]
    assert [body["max_tokens"] for body in bodies] == [3, 2, 1]
    assert {body["visual_tokens"] for body in bodies} == {9.0}


def test_copies_differ_in_their_batches_alone(tmp_path: Path) -> None:
    copy_routes(write_vlm(tmp_path / "from"), tmp_path / "to")
    limits = {}
    for name in ROUTES:
        manifest = load_route(tmp_path / "to" / name / "1", TorchDevice()).manifest
        limits[name] = {stage.max_batch for stage in manifest.stages}
    assert limits == {name: {limit} for name, limit in ROUTES.items()}


@pytest.mark.slow
def test_every_way_to_answer_is_asked_and_no_answer_is_short(tmp_path: Path) -> None:
    for name in ("AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"):
        (tmp_path / name).write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2023,900,9\n" * 4
        )
    pictures = np.random.default_rng(0).integers(0, 250, (2, SIZE, SIZE, 3), dtype=np.uint8)
    said: list[str] = []
    samples = list(
        measure_served(
            write_vlm(tmp_path / "models"), tmp_path, pictures, tmp_path, 1, 0.3, said.append
        )
    )
    found = {(one.case, one.metric): one.value for one in samples}
    for how in (FULL, "47%", "25%", ALONE):
        assert found[served("code", how), "errors"] == 0
        assert found[served("code", how), "requests_s"] > 0
        assert 0 < found[served("chat", how), "prefill_share"] < 100
    assert found[served("code", FULL), "tokens_s"] == pytest.approx(
        2 * found[served("code", FULL), "requests_s"]
    )


def test_without_the_traces_the_server_is_left_out_in_a_sentence(tmp_path: Path) -> None:
    said: list[str] = []
    pictures = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    given = (write_vlm(tmp_path / "models"), tmp_path / "none", pictures, tmp_path)
    assert list(measure_served(*given, 1, 0.1, said.append)) == []
    assert "not there, the server is left out" in said[0]
