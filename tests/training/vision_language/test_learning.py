"""A tiny model learns, resumes, drops tokens while it learns, and is judged by family."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_training import quiet
from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.model import Dropping, Prompts
from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE
from training.data.grids.examples import VOCABULARY, Examples
from training.data.grids.questions import Question
from training.data.grids.scenes import Pool, Sources
from training.data.sets import Split
from training.fitting.loop import train
from training.vision_language.curriculum import SHORT, WHOLE, Curriculum, Stage
from training.vision_language.judging import Verdict, accuracy_by_family, judge
from training.vision_language.learning import (
    Setting,
    build_model,
    draw_to_judge,
    make_job,
    standard_spec,
)
from training.vlm import run_stages

TINY = replace(
    standard_spec(), channels=(4, 8, 8), width=16, layers=4, heads=2, key_heads=1, hidden=16
)
COLOURS = Curriculum(
    (Stage("naming", {"colour": 1.0}, 1), Stage("asking", {"colour": 1.0}, 2)),
    questions=2,
    pictures=4,
    steps=6,
    judged=4,
)


def noise(*shape: int) -> Pool:
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 10
    return Pool(Split(rng.integers(0, 256, (20, *shape), dtype=np.uint8), labels))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(noise(28, 28), noise(32, 32, 3), noise(28, 28), "noise", False)


def make_setting(sources: Sources, *, ratio: float | None = None, blind: bool = False) -> Setting:
    how = Dropping() if ratio is None else Dropping(pyramid(4, ratio=ratio))
    return Setting(build_model(TINY, 1), sources, sources, COLOURS, how, blind, 1)


@pytest.mark.parametrize(("ratio", "blind"), [(None, False), (0.5, False), (None, True)])
def test_its_loss_falls(tmp_path: Path, sources: Sources, ratio: float | None, blind: bool) -> None:
    setting = make_setting(sources, ratio=ratio, blind=blind)
    lines: list[dict[str, object]] = []
    job = make_job(setting, "tiny", COLOURS.stages[1], lambda line: None)
    train(job, tmp_path, lines.append)
    first, last = (float(str(lines[place]["loss"])) for place in (0, -1))
    assert last < first


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, sources: Sources
) -> None:
    whole = make_setting(sources)
    run_stages(whole, tmp_path / "whole", "tiny", quiet())

    class Stop(Exception):
        pass

    def interrupt(line: dict[str, object]) -> None:
        raise Stop

    first, last = COLOURS.stages
    for name, stage in (("tiny-naming", first), ("tiny", last)):
        parts = make_setting(sources)
        if stage is last:
            run_first(parts, tmp_path / "parts")
        job = make_job(parts, name, stage, lambda line: None)
        with pytest.raises(Stop):
            train(job, tmp_path / "parts", interrupt)
    resumed = make_setting(sources)
    run_stages(resumed, tmp_path / "parts", "tiny", quiet())
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, msg=name)


def run_first(setting: Setting, folder: Path) -> None:
    job = make_job(setting, "tiny-naming", COLOURS.stages[0], lambda line: None)
    train(job, folder, lambda line: None)


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path, sources: Sources) -> None:
    run_stages(make_setting(sources), tmp_path, "tiny", quiet())
    with pytest.raises(ValueError, match="another recipe"):
        run_stages(make_setting(sources, ratio=0.5), tmp_path, "tiny", quiet())


def test_questions_stand_alone_where_tokens_are_dropped(sources: Sources) -> None:
    shares = {"colour": 1.0, "count": 1.0}
    whole = draw_to_judge(make_setting(sources), shares, 5, batch=2)
    alone = draw_to_judge(make_setting(sources, ratio=0.5), shares, 5, batch=2)
    assert [len(one.questions) for one in whole] == [2, 2, 1]
    assert {len(questions) for one in whole for questions in one.questions} == {2}
    assert {len(questions) for one in alone for questions in one.questions} == {1}


def test_a_verdict_is_that_of_greedy_generation(sources: Sources) -> None:
    """Each question alone, its words generated one at a time with a cache."""
    setting = make_setting(sources)
    train_a_little(setting)
    asked = draw_to_judge(setting, {"colour": 1.0, "count": 1.0}, 12, batch=6)
    verdicts = judge(setting.model, asked)
    assert setting.model.training
    assert {one.right for one in verdicts} == {True, False}
    setting.model.eval()
    assert [one.right for one in verdicts] == [
        generate(setting, batch, row, question) == question.answer
        for batch in asked
        for row, questions in enumerate(batch.questions)
        for question in questions
    ]


@torch.no_grad()
def generate(setting: Setting, batch: Examples, row: int, question: Question) -> str:
    assert batch.pictures is not None
    shown = batch.pictures[row : row + 1]
    ids = [
        VOCABULARY.id_of(BEGIN),
        *[VOCABULARY.id_of(IMAGE)] * setting.visual_tokens,
        *VOCABULARY.encode(question.text),
        VOCABULARY.id_of(ANSWER),
    ]
    prompt = Prompts(
        torch.tensor([ids]),
        torch.ones(1, len(ids), dtype=torch.bool),
        torch.tensor([[len(ids) - 1]]),
    )
    done = setting.model.prefill(prompt, shown, room=5)
    assert done.cache is not None
    words = [int(setting.model.logits(done.hidden_BTD[0, -1]).argmax())]
    while words[-1] != VOCABULARY.id_of(END) and len(words) < 5:
        logits = setting.model.decode(torch.tensor(words[-1:]), done.cache)
        words.append(int(logits[0].argmax()))
    return VOCABULARY.decode(words)


def train_a_little(setting: Setting) -> None:
    stage = replace(COLOURS.stages[0], shares={"colour": 1.0, "count": 1.0})
    job = make_job(setting, "tiny", stage, lambda line: None)
    rng = np.random.default_rng(0)
    for batch in itertools.chain.from_iterable(job.batches(rng) for _ in range(10)):
        job.optimizer.param_groups[0]["lr"] = job.optimizer.param_groups[1]["lr"] = 1e-2
        job.optimizer.zero_grad()
        job.loss(*batch).backward()  # type: ignore[no-untyped-call]
        job.optimizer.step()


def test_accuracy_is_by_family_and_of_unseen_questions() -> None:
    pairs = [f"how many cells show {kind} ?" for kind in ("coat", "bag", "shirt", "cat", "dog")]
    questions = [Question("count", text, "1") for text in pairs]
    verdicts = [Verdict(one, index == 0, index < 2) for index, one in enumerate(questions)]
    verdicts.append(Verdict(Question("colour", "which ?", "red"), True, False))
    assert accuracy_by_family(verdicts) == {"colour": 1.0, "count": 0.2, "count, unseen": 0.5}


def test_the_curricula_have_small_stages_first() -> None:
    for curriculum in (WHOLE, SHORT):
        first, *others = curriculum.stages
        assert all(first.epochs < other.epochs for other in others)
        assert set(first.shares) < set(others[-1].shares)
