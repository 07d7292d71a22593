"""Questions as tensors."""

import numpy as np
import torch

from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE
from training.data.grids.examples import VOCABULARY, collate, draw_examples
from training.data.grids.questions import FAMILIES, Question
from training.data.grids.scenes import Sources

COLOUR = Question("colour", "which colour is row 1 column 1 ?", "red")
WHERE = Question("where", "where is the bag ?", "row 2 column 1")


def test_a_row_holds_the_picture_and_each_question_as_a_segment() -> None:
    batch = collate([(COLOUR, WHERE), (COLOUR,)], None, 2)
    words = [VOCABULARY.words[index] for index in batch.id_BT[0].tolist()]
    assert words == [
        BEGIN, IMAGE, IMAGE,
        *COLOUR.text.split(), ANSWER, "red",
        *WHERE.text.split(), ANSWER, "row", "2", "column", "1",
    ]  # fmt: skip
    assert batch.segment_BT[0].tolist() == [0] * 3 + [1] * 10 + [2] * 10
    assert batch.query_BQ.tolist() == [[11, 18], [11, -1]]
    assert batch.valid_BT.sum(dim=1).tolist() == [23, 13]


def test_each_words_target_is_the_next_word_of_its_answer() -> None:
    batch = collate([(COLOUR, WHERE)], None, 0)
    learnt = [
        (VOCABULARY.words[word], VOCABULARY.words[target])
        for word, target in zip(batch.id_BT[0], batch.target_BT[0].tolist(), strict=True)
        if target >= 0
    ]
    assert learnt == [
        (ANSWER, "red"),
        ("red", END),
        (ANSWER, "row"),
        ("row", "2"),
        ("2", "column"),
        ("column", "1"),
        ("1", END),
    ]


def test_padding_has_no_target() -> None:
    batch = collate([(COLOUR, WHERE), (COLOUR,)], None, 2)
    assert bool((batch.target_BT[~batch.valid_BT] == -1).all())


def test_batches_have_pictures_and_all_questions(sources: Sources) -> None:
    shares = dict.fromkeys(FAMILIES, 1.0)
    rng = np.random.default_rng(0)
    batch = draw_examples(sources, shares, rng, pictures=4, questions=3, visual_tokens=5)
    assert batch.pictures is not None
    assert batch.pictures.shape == (4, 96, 96, 3)
    assert [len(questions) for questions in batch.questions] == [3] * 4
    assert torch.equal((batch.id_BT == VOCABULARY.id_of(IMAGE)).sum(1), torch.full((4,), 5))


def test_the_twin_gets_the_same_questions_without_pictures(sources: Sources) -> None:
    shares = dict.fromkeys(FAMILIES, 1.0)
    seeing, blind = (
        draw_examples(
            sources, shares, np.random.default_rng(3), pictures=4, questions=3, visual_tokens=tokens
        )
        for tokens in (5, 0)
    )
    assert blind.pictures is None
    assert blind.questions == seeing.questions
