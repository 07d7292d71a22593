"""A prompt: the messages of a chat, or one question, as ids with places for visual tokens.

The form is that of the training: a beginning, then for every user message its pictures, its words,
and the word that asks for an answer; an answer given before ends as the model ends its own.
Pictures of a message come before its words, whatever their order in the request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from core.errors import InvalidInput
from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE, Vocabulary

ROLES = ("system", "developer", "user", "assistant")
MAX_MESSAGES = 256
_SHOWN = 40  # characters of a wrong value in a sentence


class Prompt(NamedTuple):
    """The ids of a prompt, visual tokens included, and how many pictures it shows."""

    ids: Sequence[int]
    pictures: int


class _Message(NamedTuple):
    role: str
    text: str
    pictures: int


@dataclass(frozen=True, slots=True)
class Template:
    """How messages become ids."""

    vocabulary: Vocabulary
    visual_tokens: int  # of one picture

    def read(self, given: str, pictures: int) -> Prompt:
        """Return the prompt of a JSON list of messages, or of a text that is one question about all
        pictures. `pictures`: how many come with it.

        Raises InvalidInput, also for words outside the vocabulary and places without a picture.
        """
        if given.startswith("["):
            messages = list(_read_messages(given))
        else:
            messages = [_Message("user", given, pictures)]
        if messages[-1].role != "user":
            raise InvalidInput(
                f"messages: the last has the role {messages[-1].role}, allowed user, whose question"
                " is answered"
            )
        shown = sum(message.pictures for message in messages)
        if shown != pictures:
            raise InvalidInput(
                f"messages: they show {shown} pictures, the request has {pictures}, allowed the"
                " same number"
            )
        words = self.vocabulary
        ids = [words.id_of(BEGIN)]
        for place, message in enumerate(messages):
            ids += [words.id_of(IMAGE)] * (self.visual_tokens * message.pictures)
            ids += self._encode(place, message.text)
            if message.role == "user":
                ids.append(words.id_of(ANSWER))
            elif message.role == "assistant":
                ids.append(words.id_of(END))
        return Prompt(ids, pictures)

    def _encode(self, place: int, text: str) -> list[int]:
        try:
            return self.vocabulary.encode(text)
        except ValueError as error:
            raise InvalidInput(f"messages[{place}]: {error}") from None


def _read_messages(given: str) -> Iterator[_Message]:
    try:
        items = orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"prompt: begins like a JSON list of messages, but {error}") from None
    if not 0 < len(items) <= MAX_MESSAGES:
        raise InvalidInput(f"messages: given {len(items)}, allowed 1 to {MAX_MESSAGES}")
    for place, item in enumerate(items):
        yield _read_message(place, item)


def _read_message(place: int, item: Any) -> _Message:
    if not isinstance(item, Mapping):
        raise InvalidInput(f"messages[{place}]: given {_show(item)}, allowed an object")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise InvalidInput(
            f"messages[{place}].role: given {_show(role)}, allowed {', '.join(ROLES)}"
        )
    if isinstance(content, str):
        return _Message(role, content, 0)
    if not isinstance(content, Sequence):
        raise InvalidInput(
            f"messages[{place}].content: given {_show(content)}, allowed a text or a list of parts"
        )
    texts, pictures = [], 0
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else part
        if kind == "image" and role == "user":
            pictures += 1
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise InvalidInput(
                f"messages[{place}].content[{number}]: given {_show(kind)}, allowed text, and in"
                " user messages image"
            )
    return _Message(role, " ".join(texts), pictures)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
