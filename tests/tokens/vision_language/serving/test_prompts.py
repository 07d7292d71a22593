"""Messages become ids as in training, and what a route cannot read is refused with a sentence."""

import orjson
import pytest

from core.errors import InvalidInput
from tests.fakes.tiny_vlm import VISUAL_TOKENS, VOCABULARY
from tokens.vision_language.asking import make_prompts
from tokens.vision_language.serving.prompts import SmallTemplate

TEMPLATE = SmallTemplate(VOCABULARY, VISUAL_TOKENS)
A, B = VOCABULARY.id_of("a"), VOCABULARY.id_of("b")
BEGIN, IMAGE, END, ANSWER = range(4)
PICTURE = [IMAGE] * VISUAL_TOKENS


def write(*messages: dict[str, object]) -> str:
    return orjson.dumps(messages).decode()


def user(*parts: str) -> dict[str, object]:
    content = [
        {"type": "image"} if part == "image" else {"type": "text", "text": part} for part in parts
    ]
    return {"role": "user", "content": content}


@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_a_question_has_the_ids_of_the_training(pictures: int) -> None:
    expected = make_prompts(VOCABULARY, ["a b"], [pictures], VISUAL_TOKENS).id_BT[0].tolist()
    assert list(TEMPLATE.read("a b", pictures).ids) == expected
    shown = ["image"] * pictures
    assert list(TEMPLATE.read(write(user("a", *shown, "b")), pictures).ids) == expected


def test_a_chat_has_every_turn() -> None:
    chat = write(
        {"role": "system", "content": "b"},
        user("image", "a"),
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "a b"},
    )
    expected = [BEGIN, B, *PICTURE, A, ANSWER, B, END, A, B, ANSWER]
    assert list(TEMPLATE.read(chat, 1).ids) == expected


@pytest.mark.parametrize(
    ("prompt", "pictures", "sentence"),
    [
        ("a zebra", 0, r"messages\[0\]: words outside the vocabulary of this model: zebra"),
        ("[", 0, "begins like a JSON list"),
        ("[]", 0, "given 0, allowed 1 to"),
        ("[5]", 0, r"messages\[0\]: given 5, allowed an object"),
        (write({"role": "robot", "content": "a"}), 0, r"role: given 'robot', allowed system"),
        (write({"role": ["a"], "content": "a"}), 0, "role: given"),
        (write({"role": "user"}), 0, r"messages\[0\].content: given None"),
        (write({"role": "user", "content": [5]}), 0, r"content\[0\]: given 5, allowed text"),
        (write({"role": "user", "content": [{"type": "text"}]}), 0, r"content\[0\]"),
        (write({"role": "user", "content": ["text"]}), 0, r"content\[0\]: given 'text'"),
        (write({"role": "user", "content": ["image"]}), 0, r"content\[0\]: given 'image'"),
        (write({"role": "system", "content": [{"type": "image"}]}, user("a")), 1, "user messages"),
        (write({"role": "assistant", "content": "a"}), 0, "the last has the role assistant"),
        (write(user("a")), 1, "they refer to 0 pictures, but the request contains 1"),
        (write(user("image", "a")), 0, "they refer to 1 pictures, but the request contains 0"),
    ],
)
def test_what_it_cannot_read_is_refused(prompt: str, pictures: int, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        TEMPLATE.read(prompt, pictures)
