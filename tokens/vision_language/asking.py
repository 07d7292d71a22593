"""Questions in words about pictures, answered by greedy decoding of a whole batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel
from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE, Vocabulary


def make_prompts(
    vocabulary: Vocabulary, questions: Sequence[str], pictures: Sequence[int], visual_tokens: int
) -> Prompts:
    """A row for each question, after as many pictures as `pictures` says.

    Raises ValueError for words outside the vocabulary.
    """
    rows = [
        [
            vocabulary.id_of(BEGIN),
            *[vocabulary.id_of(IMAGE)] * (visual_tokens * count),
            *vocabulary.encode(question),
            vocabulary.id_of(ANSWER),
        ]
        for question, count in zip(questions, pictures, strict=True)
    ]
    longest = max(len(row) for row in rows)
    sizes = torch.tensor([[len(row)] for row in rows])
    padding = vocabulary.id_of(END)
    return Prompts(
        id_BT=torch.tensor([row + [padding] * (longest - len(row)) for row in rows]),
        valid_BT=torch.arange(longest) < sizes,
        seeds=tuple(range(len(rows))),
    )


@torch.no_grad()
def answer(
    model: VisionLanguageModel,
    vocabulary: Vocabulary,
    questions: Sequence[str],
    pictures: Tensor | None,
    how: Dropping | None = None,
    max_words: int = 16,
) -> list[str]:
    """The answer to each question about its own picture; without pictures, about none.

    `pictures`: uint8 [B, S, S, 3]. Raises ValueError for words outside the vocabulary.
    """
    counts = [0 if pictures is None else 1] * len(questions)
    prompts = make_prompts(vocabulary, questions, counts, model.spec.visual_tokens)
    how = how or Dropping()
    done = model.prefill(prompts, pictures, how, room=max_words)
    assert done.cache is not None
    last_B = done.layout.lengths_B - 1
    logits_BV = model.logits(done.hidden_BTD[torch.arange(len(questions)), last_B])
    words = [logits_BV.argmax(dim=-1)]
    end = vocabulary.id_of(END)
    ended_B = words[0] == end
    while not bool(ended_B.all()) and len(words) < max_words:
        words.append(model.decode(words[-1], done.cache, how.positions).argmax(dim=-1))
        ended_B = ended_B | (words[-1] == end)
    return [vocabulary.decode(row) for row in torch.stack(words, dim=1).tolist()]
