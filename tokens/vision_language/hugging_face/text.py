"""Chats as a model of Hugging Face transformers reads them: its tokenizer, its chat template."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from tokens.vision_language.hugging_face.model import UnusableModelError
from tokens.vision_language.serving.backbone import Prompt
from tokens.vision_language.serving.messages import Message, read_messages

TEMPLATE_FILE = "chat_template.json"  # of older processors
HALF_A_CHARACTER = "\ufffd"
MOST_BYTES = 4  # of a character, each of which may be a token


class HuggingFaceWords:
    """A tokenizer's words."""

    def __init__(self, tokenizer: Any, ends: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self.ends = tuple(ends)

    def decode(self, ids: Iterable[int]) -> str:
        """Without special tokens, and without a character at the end that is not yet whole."""
        whole = list(ids)
        found = self._decode(whole)
        for left_out in range(1, MOST_BYTES):
            if not found.endswith(HALF_A_CHARACTER):
                return found
            found = self._decode(whole[: len(whole) - left_out])
        return found.rstrip(HALF_A_CHARACTER)

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class HuggingFaceTemplate:
    """How messages become ids; each mark of a picture stands for all of its visual tokens."""

    def __init__(
        self, tokenizer: Any, chat: str, image_id: int, visual_tokens: int, ends: Iterable[int]
    ) -> None:
        self.vocabulary = HuggingFaceWords(tokenizer, ends)
        self._tokenizer = tokenizer
        self._chat = chat
        self._image_id = image_id
        self._marks = [str(one) for one in tokenizer.all_special_tokens if str(one)]
        self._visual_tokens = visual_tokens

    def read(self, given: str, pictures: int) -> Prompt:
        from jinja2 import TemplateError

        messages = read_messages(given, pictures)
        for place, message in enumerate(messages):
            if mark := next((one for one in self._marks if one in message.text), None):
                raise InvalidInput(
                    f"messages[{place}]: given a text with {mark}, which has a meaning of its own"
                    " for this model; remove it"
                )
        try:
            text: str = self._tokenizer.apply_chat_template(
                [_write(message) for message in messages],
                chat_template=self._chat,
                tokenize=False,
                add_generation_prompt=True,
            )
        except (TemplateError, TypeError) as error:
            raise InvalidInput(f"messages: the model's chat template says: {error}") from None
        begins = self._tokenizer.bos_token
        has_begun = begins is not None and text.startswith(begins)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not has_begun)["input_ids"]
        if ids.count(self._image_id) != pictures:
            raise InvalidInput(
                "messages: the model's chat template does not write its mark of a picture once for"
                " each picture"
            )
        widths = (self._visual_tokens if one == self._image_id else 1 for one in ids)
        return Prompt(
            [one for one, width in zip(ids, widths, strict=True) for _ in range(width)], pictures
        )


def open_template(directory: Path, model: Any, visual_tokens: int) -> HuggingFaceTemplate:
    """The tokenizer and the chat template in this directory. Raises ValueError in one sentence, or
    OSError.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    if model.config.image_token_id is None:
        raise UnusableModelError(f"{directory}: the model has no image_token_id")
    chat = tokenizer.chat_template
    path = directory / TEMPLATE_FILE
    if path.exists() and not (directory / "chat_template.jinja").exists():
        chat = json.loads(path.read_text()).get("chat_template")
    if not isinstance(chat, str):
        raise UnusableModelError(
            f"{directory}: the model has no chat template; put one into chat_template.jinja"
        )
    return HuggingFaceTemplate(
        tokenizer, chat, model.config.image_token_id, visual_tokens, _list_ends(model, tokenizer)
    )


def _list_ends(model: Any, tokenizer: Any) -> list[int]:
    """Raises ValueError for a model whose answers have no end."""
    given = model.generation_config.eos_token_id
    found = [given] if isinstance(given, int) else [*(given or ())]
    if tokenizer.eos_token_id is not None:
        found.append(tokenizer.eos_token_id)
    if not found:
        raise UnusableModelError(
            "neither the model nor its tokenizer says which token ends an answer"
        )
    return sorted(set(found))


def _write(message: Message) -> dict[str, Any]:
    """In the form of transformers: a picture is a part of its message."""
    role = "system" if message.role == "developer" else message.role
    parts: list[dict[str, str]] = [{"type": "image"}] * message.pictures
    return {"role": role, "content": [*parts, {"type": "text", "text": message.text}]}
