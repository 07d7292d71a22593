"""The messages of a chat, checked: who says what, and which show pictures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from core.errors import InvalidInput

ROLES = ("system", "developer", "user", "assistant")
MAX_MESSAGES = 256
_SHOWN = 40  # characters of a wrong value in a sentence


class Message(NamedTuple):
    """One message; its pictures come before its text."""

    role: str
    text: str
    pictures: int


def read_messages(given: str, pictures: int) -> list[Message]:
    """Return the messages of a JSON list, or of a text that is one question about all pictures.
    `pictures`: how many come with it.

    Raises InvalidInput, also if the last is not a user's, or they show another number of pictures.
    """
    if given.startswith("["):
        messages = list(_read_list(given))
    else:
        messages = [Message("user", given, pictures)]
    if messages[-1].role != "user":
        raise InvalidInput(
            f"messages: the last has the role {messages[-1].role}, allowed user, whose question"
            " is answered"
        )
    shown = sum(message.pictures for message in messages)
    if shown != pictures:
        raise InvalidInput(
            f"messages: they refer to {shown} pictures, but the request contains {pictures}"
        )
    return messages


def _read_list(given: str) -> Iterator[Message]:
    try:
        items = orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"prompt: begins like a JSON list of messages, but {error}") from None
    if not 0 < len(items) <= MAX_MESSAGES:
        raise InvalidInput(f"messages: given {len(items)}, allowed 1 to {MAX_MESSAGES}")
    for place, item in enumerate(items):
        yield _read_message(place, item)


def _read_message(place: int, item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise InvalidInput(f"messages[{place}]: given {_show(item)}, allowed an object")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise InvalidInput(
            f"messages[{place}].role: given {_show(role)}, allowed {', '.join(ROLES)}"
        )
    if isinstance(content, str):
        return Message(role, content, 0)
    if not isinstance(content, Sequence):
        raise InvalidInput(
            f"messages[{place}].content: given {_show(content)}, allowed a text or a list of parts"
        )
    texts, pictures = [], 0
    for number, part in enumerate(content):
        found = part if isinstance(part, Mapping) else {"type": part}
        kind, text = found.get("type"), found.get("text")
        if found is part and kind == "image" and role == "user":
            pictures += 1
        elif kind == "text" and isinstance(text, str):
            texts.append(text)
        else:
            raise InvalidInput(
                f"messages[{place}].content[{number}]: given {_show(kind)}, allowed text, and in"
                " user messages image"
            )
    return Message(role, " ".join(texts), pictures)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
