"""The closed vocabulary."""

import pytest

from tokens.vision_language.words import END, Vocabulary

VOCABULARY = Vocabulary(("what", "is", "t-shirt", "?"))


def test_words_become_ids_and_return() -> None:
    ids = VOCABULARY.encode("What is  T-shirt?")
    assert VOCABULARY.decode(ids) == "what is t-shirt ?"


def test_an_answer_stops_at_its_end() -> None:
    ids = [*VOCABULARY.encode("t-shirt"), VOCABULARY.id_of(END), *VOCABULARY.encode("what")]
    assert VOCABULARY.decode(ids) == "t-shirt"


def test_unknown_words_are_named() -> None:
    with pytest.raises(ValueError, match="vocabulary of this model: hat, who"):
        VOCABULARY.encode("who is what hat")


def test_a_word_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(("a", "a"))
