"""A model under several schedules, on the same questions: accuracy, agreement with itself, cost.

Every question stands alone with its picture and is answered by generation, as a server does it.
The comparators of PyramidDrop read as many visual tokens on average.

Shapes: B questions of a batch, Q questions in all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tokens.pyramid_drop.flops import decoder_macs
from tokens.pyramid_drop.schedule import Drop, Schedule, for_average_late
from tokens.pyramid_drop.scoring import Scorer
from tokens.vision_language.asking import answer, make_prompts
from tokens.vision_language.model import Dropping, VisionLanguageModel, VlmSpec
from tokens.vision_language.vision import vision_macs
from training.data.grids.examples import VOCABULARY
from training.data.grids.questions import Question, ask, scene_at
from training.data.grids.scenes import Sources, draw_scenes
from training.vision_language.judging import Verdict, accuracy_by_family

BATCH = 64
MAX_WORDS = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions, each about its own picture: uint8 [N, S, S, 3]."""

    questions: tuple[Question, ...]
    pictures: torch.Tensor


@dataclass(frozen=True, slots=True)
class Point:
    """What one schedule reaches. `macs` are those of the prefills' vision part and decoder."""

    name: str
    how: Dropping
    average_tokens: float  # of visual tokens, over layers
    macs: float  # of a prompt, on average
    right: Mapping[str, float]  # the share of right answers, by family
    right_Q: npt.NDArray[np.bool_]
    same_Q: npt.NDArray[np.bool_]  # whether the model answers so without drops, too

    @property
    def agreement(self) -> float:
        """The share of answers that the model gives without drops, too."""
        return float(self.same_Q.mean())


def draw_questions(sources: Sources, families: Sequence[str], each: int, seed: int) -> Asked:
    """`each` questions of every family, in turn; a grid that allows none is drawn again."""
    rng = np.random.default_rng(seed)
    wanted = [family for _ in range(each) for family in families]
    questions: list[Question] = []
    pictures: list[torch.Tensor] = []
    while len(questions) < len(wanted):
        scenes = draw_scenes(sources, 1, rng)
        question = ask(wanted[len(questions)], scene_at(scenes, 0), rng, True)
        if question.family == wanted[len(questions)]:
            questions.append(question)
            pictures.append(torch.from_numpy(scenes.pictures))
    return Asked(tuple(questions), torch.cat(pictures))


def comparators(
    spec: VlmSpec, choices: Sequence[Sequence[int]], average: float
) -> dict[str, Dropping]:
    """PyramidDrop with drops before these layers, and others that read as many tokens.

    FastV drops once, before layer 2, or before layer 1 where that leaves too many. Random choice
    and a regular grid follow both schedules.
    Raises ValueError for an average that these layers cannot reach.
    """
    tokens = spec.visual_tokens
    schedule = for_average_late(choices, spec.layers, tokens, average)
    scorers: tuple[Scorer, ...] = ("last", "salient", "random", "uniform")
    found = {f"pyramid, {scorer}": Dropping(schedule, scorer) for scorer in scorers}
    for layer in (2, 1):
        share = (average / tokens * spec.layers - layer) / (spec.layers - layer)
        if share > 0:
            once = Schedule((Drop(layer, share),))
            break
    else:
        raise ValueError(f"FastV cannot read {average:g} visual tokens on average")
    found["fastv"] = Dropping(once, "fastv")
    found["once, random"] = Dropping(once, "random")
    found["once, uniform"] = Dropping(once, "uniform")
    return found


def measure(
    model: VisionLanguageModel, asked: Asked, settings: Mapping[str, Dropping]
) -> list[Point]:
    """A point for each setting, after one for the model without drops."""
    full = _answers(model, asked, Dropping())
    points = [_point("full", Dropping(), model.spec, asked, full, full)]
    for name, how in settings.items():
        points.append(_point(name, how, model.spec, asked, _answers(model, asked, how), full))
    return points


def _answers(model: VisionLanguageModel, asked: Asked, how: Dropping) -> list[str]:
    found: list[str] = []
    for start in range(0, len(asked.questions), BATCH):
        texts = [one.text for one in asked.questions[start : start + BATCH]]
        shown = asked.pictures[start : start + BATCH]
        found += answer(model, VOCABULARY, texts, shown, how, MAX_WORDS)
    return found


def _point(
    name: str, how: Dropping, spec: VlmSpec, asked: Asked, answers: list[str], full: list[str]
) -> Point:
    verdicts = [
        Verdict(question, found == question.answer, unseen=False)
        for question, found in zip(asked.questions, answers, strict=True)
    ]
    return Point(
        name=name,
        how=how,
        average_tokens=how.schedule.average(spec.visual_tokens, spec.layers),
        macs=_macs(spec, how, asked),
        right=accuracy_by_family(verdicts),
        right_Q=np.array([one.right for one in verdicts]),
        same_Q=np.array([one == other for one, other in zip(answers, full, strict=True)]),
    )


def _macs(spec: VlmSpec, how: Dropping, asked: Asked) -> float:
    texts = make_prompts(
        VOCABULARY, [one.text for one in asked.questions], [0] * len(asked.questions), 0
    )
    sizes, counts = np.unique(texts.valid_BT.sum(dim=1).numpy(), return_counts=True)
    decoder = [
        decoder_macs(spec.decoder, spec.visual_tokens, int(size), how.schedule) for size in sizes
    ]
    seen = vision_macs(spec.size_px, spec.channels, spec.width)
    return seen + float(np.average(decoder, weights=counts))
