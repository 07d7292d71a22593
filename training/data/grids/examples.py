"""Grids with questions as tensors: several questions share a picture, and none sees another.

A row is `<begin>`, the visual tokens, then for every question its words, `answer:`, the answer's
words and `<end>`. Each question is a segment of its own, so that it stands as if it were alone.

Shapes: B rows, T tokens, Q questions of a row, A tokens of all answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE, Vocabulary
from training.data.grids.questions import WORDS, Question, ask, scene_at
from training.data.grids.scenes import Sources, draw_scenes

VOCABULARY = Vocabulary(WORDS)


@dataclass(frozen=True, slots=True)
class Examples:
    """A batch. Without pictures, rows are text alone."""

    pictures: Tensor | None  # uint8 [B, 96, 96, 3]
    id_BT: Tensor
    valid_BT: Tensor
    segment_BT: Tensor
    query_BQ: Tensor  # places of `answer:`
    target_BT: Tensor  # the word that follows where an answer is learnt, else -1
    questions: tuple[tuple[Question, ...], ...]


def draw_examples(
    sources: Sources,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    *,
    pictures: int,
    questions: int,
    visual_tokens: int,
    unseen: bool = False,
) -> Examples:
    """Random grids, each with that many questions; `shares` says how often a family is asked.

    With `visual_tokens` 0 the pictures are left out. `unseen` is that of `ask`.
    """
    scenes = draw_scenes(sources, pictures, rng)
    names, odds = list(shares), np.array(list(shares.values()))
    chosen = rng.choice(len(names), (pictures, questions), p=odds / odds.sum())
    asked = [
        tuple(ask(names[family], scene_at(scenes, index), rng, unseen) for family in chosen[index])
        for index in range(pictures)
    ]
    shown = torch.from_numpy(scenes.pictures) if visual_tokens else None
    return collate(asked, shown, visual_tokens)


def collate(
    asked: Sequence[tuple[Question, ...]], pictures: Tensor | None, visual_tokens: int
) -> Examples:
    """The questions of every picture as padded rows."""
    rows = [_lay_out(questions, visual_tokens) for questions in asked]
    length = max(len(row.ids) for row in rows)
    queries = max(len(row.queries) for row in rows)

    def pad(values: Sequence[Sequence[int]], width: int, fill: int) -> Tensor:
        return torch.tensor([[*one, *[fill] * (width - len(one))] for one in values])

    sizes = torch.tensor([len(row.ids) for row in rows])
    return Examples(
        pictures=pictures,
        id_BT=pad([row.ids for row in rows], length, VOCABULARY.id_of(END)),
        valid_BT=torch.arange(length) < sizes.unsqueeze(1),
        segment_BT=pad([row.segments for row in rows], length, 0),
        query_BQ=pad([row.queries for row in rows], queries, -1),
        target_BT=pad([row.targets for row in rows], length, -1),
        questions=tuple(asked),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    ids: list[int]
    segments: list[int]
    queries: list[int]
    targets: list[int]


def _lay_out(questions: Sequence[Question], visual_tokens: int) -> _Row:
    ids = [VOCABULARY.id_of(BEGIN), *[VOCABULARY.id_of(IMAGE)] * visual_tokens]
    row = _Row(ids, [0] * len(ids), [], [-1] * len(ids))
    for segment, question in enumerate(questions, start=1):
        asked = [*VOCABULARY.encode(question.text), VOCABULARY.id_of(ANSWER)]
        answer = [*VOCABULARY.encode(question.answer), VOCABULARY.id_of(END)]
        row.queries.append(len(row.ids) + len(asked) - 1)
        row.ids.extend([*asked, *answer[:-1]])  # nothing follows the end
        row.targets.extend([*[-1] * (len(asked) - 1), *answer])
        row.segments.extend([segment] * (len(asked) + len(answer) - 1))
    return row
