"""What is timed: prefills, steps of training, memory."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.pyramid_drop import memory, prefills, trainings
from benchmarks.pyramid_drop.accelerator import time_accelerator, time_big
from benchmarks.pyramid_drop.names import STEP, STEP_DROPPING, big
from benchmarks.pyramid_drop.prefills import (
    clocked_scores,
    count_macs,
    list_schedules,
    make_prompts,
    see,
    time_pair,
    time_wide,
    widen,
)
from tests.fakes.tiny_vlm import SPEC, VOCABULARY, make_model
from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.files import write_model
from tokens.vision_language.model import Dropping
from training.data.grids.scenes import Sources
from training.vision_language.curriculum import SHORT
from training.vision_language.learning import standard_spec

HALF = Dropping(pyramid(SPEC.layers, ratio=0.5))


def test_a_pair_is_timed_run_by_run_beside_its_macs() -> None:
    model, prompts = make_model(), make_prompts(SPEC, 2, 5)
    pictures = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    given = {"features": see(model, pictures)}
    samples = list(time_pair("case", model, prompts, given, HALF, 2, 1, 1))
    found = {(one.metric, one.run): one.value for one in samples}
    expected = count_macs(SPEC, 5, pyramid(4, ratio=1.0), True) / count_macs(
        SPEC, 5, HALF.schedule, True
    )
    assert found["macs_speedup", 0] == pytest.approx(expected)
    for run in range(2):
        speedup = found["full_us", run] / found["dropped_us", run]
        assert found["speedup", run] == pytest.approx(speedup)
        assert found["reached", run] == pytest.approx(speedup / expected)
        assert 0 < found["scoring", run] < 100


def test_a_large_decoder_is_timed_where_there_is_a_device_for_it() -> None:
    spec = replace(SPEC, layers=16)
    place = torch.device("cpu")
    samples = list(
        time_big(spec, (1, 2, 4), place, torch.bfloat16, time.thread_time, 1, 1, lambda _: None)
    )
    found = {(one.case, one.metric): one.value for one in samples}
    for pictures in (1, 5):
        ratios = [found[big(pictures, f"{one} tokens"), "macs_speedup"] for one in (192, 128, 64)]
        assert ratios == sorted(ratios)
        case = big(pictures, "λ 0.5")
        assert found[case, "keys_values"] < 1
        assert found[case, "keys_values_error"] < 0.01
        assert found[case, "reached"] > 0
    said: list[str] = []
    if not torch.cuda.is_available():
        assert list(time_accelerator(1, 1, said.append)) == []
        assert "no accelerator" in said[0]


def test_every_drop_scores_once_and_the_model_is_left_as_it_was() -> None:
    model, prompts = make_model(), make_prompts(SPEC, 1, 5)
    pictures = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    with clocked_scores(lambda: 0.0) as spent:
        model.prefill(prompts, pictures, HALF)
    assert spent == [0.0] * 3
    model.prefill(prompts, pictures, HALF)
    assert len(spent) == 3


def test_wide_layers_have_576_visual_tokens_and_reach_every_average() -> None:
    for width, layers in ((1024, 8), (2048, 4)):
        spec = widen(width, layers)
        assert spec.visual_tokens == 576
        for name, schedule in list_schedules(spec).items():
            schedule.check(layers)
            if name.endswith("tokens"):
                average = schedule.average(576, layers)
                assert average == pytest.approx(float(name.split()[0]), abs=1)
    assert "128 tokens" not in list_schedules(widen(2048, 4))  # the first layer alone makes 144


def test_wide_cases_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefills, "THREADS", (1,))
    monkeypatch.setattr(prefills, "WIDE_SIZE_PX", 32)  # 16 visual tokens
    monkeypatch.setattr(prefills, "WIDE_AVERAGES", (8, 2))
    samples = list(time_wide(1, 1, lambda _: None, {"narrow": (64, 8)}))
    assert {one.case for one in samples} == {
        f"narrow, {name}, 1 thread" for name in ("λ 0.5", "λ 0.3", "8 tokens")
    }


def test_fewer_keys_and_values_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ROWS", 4)
    write_model(make_model(), VOCABULARY, tmp_path, "tiny")
    kept = [memory.measure_here(tmp_path, "tiny", ratio)[1] for ratio in (1.0, 0.5)]
    assert kept[0] > kept[1] > 0


def test_steps_of_both_trainings_are_timed(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(
        standard_spec(), channels=(4, 8, 8), width=16, layers=4, heads=2, key_heads=1, hidden=16
    )
    monkeypatch.setattr(trainings, "standard_spec", lambda: tiny)
    monkeypatch.setattr(trainings, "SHORT", replace(SHORT, pictures=2, judged=2))
    samples = list(trainings.time_steps(sources, 2, 1, lambda _: None))
    assert [(one.case, one.run) for one in samples] == [
        (STEP, 0), (STEP_DROPPING, 0), (STEP, 1), (STEP_DROPPING, 1),
    ]  # fmt: skip
    assert all(one.value > 0 for one in samples)
