"""Every answer is right, and questions that are held out never reach training."""

import numpy as np
import pytest

from training.data.grids.examples import VOCABULARY
from training.data.grids.questions import (
    COMPOSED,
    FAMILIES,
    Question,
    Scene,
    ask,
    held_out,
    place_name,
)
from training.data.grids.scenes import COLOURS, KINDS, NUMBER

COAT, BAG, CAT = (KINDS.index(name) for name in ("coat", "bag", "cat"))
RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")
#  coat 42 cat / bag coat coat / cat 7 coat
SCENE = Scene(
    kinds=np.array([COAT, NUMBER, CAT, BAG, COAT, COAT, CAT, NUMBER, COAT]),
    colours=np.array([RED, RED, -1, BLUE, RED, BLUE, -1, BLUE, BLUE]),
    numbers=np.array([-1, 42, -1, -1, -1, -1, -1, 7, -1]),
)


def draw(family: str, times: int = 300) -> dict[str, str]:
    rng = np.random.default_rng(0)
    found = [ask(family, SCENE, rng, True) for _ in range(times)]
    return {one.text: one.answer for one in found if one.family == family}


def test_cells_are_named() -> None:
    assert draw("garment") == {
        "what is in row 1 column 1 ?": "coat",
        "what is in row 2 column 1 ?": "bag",
        "what is in row 2 column 2 ?": "coat",
        "what is in row 2 column 3 ?": "coat",
        "what is in row 3 column 3 ?": "coat",
    }
    assert set(draw("object").values()) == {"cat"}
    assert draw("digits") == {
        "which number is in row 1 column 2 ?": "4 2",
        "which number is in row 3 column 2 ?": "0 7",
    }


def test_colours_are_asked_of_what_has_one() -> None:
    found = draw("colour")
    assert len(found) == 7
    assert found["which colour is row 2 column 1 ?"] == "blue"


def test_counts_are_right() -> None:
    found = draw("count")
    assert found["how many cells show coat ?"] == "4"
    assert found["how many cells are red ?"] == "3"
    assert found["how many cells are white ?"] == "0"
    assert found["how many cells show dog ?"] == "0"


def test_comparisons_are_right_and_balanced() -> None:
    found = draw("same", 3000)
    assert len(found) == 72
    assert found["is row 1 column 1 the same as row 3 column 3 ?"] == "yes"
    assert found["is row 1 column 1 the same as row 1 column 3 ?"] == "no"
    rng = np.random.default_rng(1)
    answers = [ask("same", SCENE, rng, True).answer for _ in range(1000)]
    assert 400 < answers.count("yes") < 600


def test_only_what_is_there_once_is_looked_for() -> None:
    assert draw("where") == {"where is the bag ?": "row 2 column 1"}


def test_rows_and_grids_are_listed() -> None:
    assert draw("row")["list row 2"] == "bag coat coat"
    assert draw("row")["list the colours in row 1"] == "red red none"
    assert draw("list")["list everything"] == "coat number cat bag coat coat cat number coat"
    assert draw("list")["list the colours"] == "red red none blue red blue none blue blue"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vocabulary_has_every_word(family: str) -> None:
    for text, answer in draw(family).items():
        assert VOCABULARY.decode(VOCABULARY.encode(text)) == text
        assert VOCABULARY.decode(VOCABULARY.encode(answer)) == answer


@pytest.mark.parametrize("family", sorted(COMPOSED))
def test_held_out_questions_are_asked_only_where_wanted(family: str) -> None:
    rng = np.random.default_rng(0)
    trained = {ask(family, SCENE, rng, False).text for _ in range(1000)}
    assert not any(held_out(Question(family, text, "")) for text in trained)
    assert any(held_out(ask(family, SCENE, rng, True)) for _ in range(1000))


def test_a_grid_without_numbers_is_asked_something_else() -> None:
    scene = Scene(np.full(9, COAT), np.full(9, RED), np.full(9, -1))
    question = ask("digits", scene, np.random.default_rng(0), False)
    assert question == Question("colour", question.text, "red")


def test_a_whole_family_is_never_held_out() -> None:
    assert not any(
        held_out(Question("garment", f"what is in {place_name(cell)} ?", "coat"))
        for cell in range(9)
    )
