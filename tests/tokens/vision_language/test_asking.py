"""Questions in words, answered in a batch as alone."""

import pytest
import torch

from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.asking import answer, make_prompts
from tokens.vision_language.model import Dropping, VisionLanguageModel
from tokens.vision_language.words import Vocabulary

VOCABULARY = Vocabulary(tuple("abcdefghijklmnop"))
QUESTIONS = ["a b", "c d e f", "g"]


@pytest.mark.parametrize("how", [Dropping(), Dropping(pyramid(4, ratio=0.5), positions="kept")])
def test_answers_of_a_batch_are_those_of_each_question_alone(
    model: VisionLanguageModel, how: Dropping
) -> None:
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=generator)
    together = answer(model, VOCABULARY, QUESTIONS, pictures, how, max_words=5)
    alone = [
        answer(model, VOCABULARY, [question], pictures[index : index + 1], how, max_words=5)[0]
        for index, question in enumerate(QUESTIONS)
    ]
    assert together == alone
    assert all(len(one.split()) <= 5 for one in together)
    assert any(together)


def test_questions_without_pictures_are_answered(model: VisionLanguageModel) -> None:
    assert len(answer(model, VOCABULARY, QUESTIONS, None, max_words=2)) == 3


def test_a_prompt_may_have_several_pictures() -> None:
    prompts = make_prompts(VOCABULARY, ["a", "b"], [2, 0], 4)
    assert prompts.id_BT.tolist() == [[0, *[1] * 8, 4, 3], [0, 5, 3, *[2] * 8]]
    assert prompts.query_BQ is None


def test_unknown_words_are_refused(model: VisionLanguageModel) -> None:
    with pytest.raises(ValueError, match="zebra"):
        answer(model, VOCABULARY, ["a zebra"], None)
