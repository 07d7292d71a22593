"""Reads the body of a chat completion: messages, pictures, and what the answer may be.

Pictures come as data URLs; the server fetches nothing. What the routes do not offer is refused with
a sentence, unless its value asks for nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from core.errors import InvalidInput
from serving.oip.tensors import shorten

# In the body and as parameters of the route; a route may declare others, which pass too.
RENAMED: Mapping[str, str] = {"max_completion_tokens": "max_tokens"}
LIMITS = ("timeout_ms", "energy_mj", "no_cache")  # parameters of every route

_DATA_URL = re.compile(r"data:image/[\w.+-]+(;[\w.+-]+=[\w.+-]*)*;base64", re.ASCII)
_HTTP_URL = re.compile(r"https?:", re.IGNORECASE)
# Values that ask for nothing; any other one is refused.
_NOT_OFFERED: Mapping[str, Sequence[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}


class ChatRequest(NamedTuple):
    """A chat completion's body."""

    model: str
    prompt: str  # the messages as the route's input takes them, a JSON list
    pictures: Sequence[str]  # base64 texts, in the order of the messages
    parameters: Mapping[str, object]
    stream: bool
    includes_usage: bool  # of a stream


def read_chat(body: bytes) -> ChatRequest:
    """Return the request. Raises InvalidInput."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"body: not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidInput(f"body: given {shorten(given)}, allowed an object")
    given = {name: value for name, value in given.items() if value is not None}
    for name, allowed in _NOT_OFFERED.items():
        if name in given and given[name] not in allowed:
            offered = " or ".join(orjson.dumps(one).decode() for one in allowed) or "nothing"
            raise InvalidInput(f"{name}: given {shorten(given[name])}, allowed {offered}")
    pictures: list[str] = []
    prompt = [
        {"role": role, "content": _read_content(f"messages[{place}]", content, pictures)}
        for place, (role, content) in enumerate(_read_messages(given.get("messages")))
    ]
    options = given.get("stream_options", {})
    return ChatRequest(
        _read_model(given.get("model")),
        _write(prompt),
        pictures,
        _read_parameters(given),
        _read_flag("stream", given),
        isinstance(options, dict) and _read_flag("include_usage", options),
    )


def _write(prompt: list[dict[str, object]]) -> str:
    try:
        return orjson.dumps(prompt).decode()
    except TypeError:  # deeper than JSON may be written, though it was read
        raise InvalidInput("messages: nested too deeply") from None


def _read_model(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise InvalidInput(f"model: given {shorten(given)}, allowed a name of GET /v1/models")
    return given


def _read_messages(given: object) -> list[tuple[object, object]]:
    if not isinstance(given, list) or not given:
        raise InvalidInput(f"messages: given {shorten(given)}, allowed a list of messages")
    for place, message in enumerate(given):
        if not isinstance(message, dict):
            raise InvalidInput(f"messages[{place}]: given {shorten(message)}, allowed an object")
    return [(message.get("role"), message.get("content")) for message in given]


def _read_content(place: str, given: Any, pictures: list[str]) -> object:
    """Return a message's content without its pictures, which are added to the list."""
    if not isinstance(given, list):
        return given  # the route checks it
    return [
        _read_part(f"{place}.content[{number}]", part, pictures)
        for number, part in enumerate(given)
    ]


def _read_part(place: str, part: object, pictures: list[str]) -> object:
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return part
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise InvalidInput(f"{place}.image_url.url: given {shorten(url)}, allowed a data URL")
    if _HTTP_URL.match(url):
        raise InvalidInput(
            f"{place}.image_url.url: given an http address, which this server does not fetch,"
            " allowed a data URL such as data:image/png;base64,…"
        )
    head, comma, data = url.partition(",")
    if not comma or not _DATA_URL.fullmatch(head[:256]):
        raise InvalidInput(
            f"{place}.image_url.url: given {shorten(url, 40)}, allowed a data URL such as"
            " data:image/png;base64,…"
        )
    pictures.append(data)
    return {"type": "image"}


def _read_parameters(given: Mapping[str, Any]) -> dict[str, object]:
    """Return all that may be a parameter of the route, under its name there."""
    found = {RENAMED.get(name, name): value for name, value in given.items()}
    stop = found.get("stop")
    if isinstance(stop, str):
        found["stop"] = [stop]
    return found


def _read_flag(name: str, given: Mapping[str, Any]) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: given {shorten(value)}, allowed true or false")
    return value
