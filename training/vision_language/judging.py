"""How often a vision-language model answers right, by family of questions.

An answer is right when every word of it and its end are. Words are predicted with the right ones
before them, which gives the same verdict as greedy generation.

Shapes: B rows, T tokens, Q questions of a row.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel
from training.data.grids.examples import Examples
from training.data.grids.questions import Question, held_out


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question and whether its answer was right."""

    question: Question
    right: bool
    unseen: bool  # a question that is never trained on


def prompts_of(examples: Examples) -> Prompts:
    """The examples as the model takes them."""
    return Prompts(
        examples.id_BT, examples.valid_BT, examples.query_BQ, examples.segment_BT,
        tuple(range(len(examples.id_BT))),
    )  # fmt: skip


@torch.no_grad()
def judge(
    model: VisionLanguageModel, examples: list[Examples], how: Dropping | None = None
) -> list[Verdict]:
    """The verdict on every question. The model is left in the mode in which it came."""
    training = model.training
    model.eval()
    try:
        return [one for batch in examples for one in _judge_batch(model, batch, how)]
    finally:
        model.train(training)


def _judge_batch(
    model: VisionLanguageModel, batch: Examples, how: Dropping | None
) -> list[Verdict]:
    done = model.prefill(prompts_of(batch), batch.pictures, how)
    target_BT = batch.target_BT.gather(1, done.kept_BT)
    segment_BT = batch.segment_BT.gather(1, done.kept_BT)
    answered_BT = (target_BT >= 0) & done.layout.valid_BT
    wrong_BT = torch.zeros_like(answered_BT)
    wrong_BT[answered_BT] = _best(model, done.hidden_BTD[answered_BT]) != target_BT[answered_BT]
    verdicts = []
    for row, questions in enumerate(batch.questions):
        missed = set(segment_BT[row][wrong_BT[row]].tolist())
        for segment, question in enumerate(questions, start=1):
            verdicts.append(Verdict(question, segment not in missed, held_out(question)))
    return verdicts


def _best(model: VisionLanguageModel, hidden_AD: Tensor) -> Tensor:
    return model.logits(hidden_AD).argmax(dim=-1)


def accuracy_by_family(verdicts: list[Verdict]) -> Mapping[str, float]:
    """The share of right answers of each family; of the composed ones also of unseen questions."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for one in verdicts:
        names = [one.question.family, *([f"{one.question.family}, unseen"] if one.unseen else [])]
        asked.update(names)
        right.update(names if one.right else [])
    return {name: right[name] / asked[name] for name in sorted(asked)}
