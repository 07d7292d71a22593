"""A prompt: the messages of a chat, or one question, as ids with places for visual tokens.

The form is that of the training: a beginning, then for every user message its pictures, its words,
and the word that asks for an answer; an answer given before ends as the model ends its own.
Pictures of a message come before its words, whatever their order in the request.
"""

from dataclasses import dataclass

from core.errors import InvalidInput
from tokens.vision_language.serving.backbone import Prompt
from tokens.vision_language.serving.messages import read_messages
from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE, Vocabulary


@dataclass(frozen=True, slots=True)
class SmallTemplate:
    """How messages become ids of the small model."""

    vocabulary: Vocabulary
    visual_tokens: int  # of one picture

    def read(self, given: str, pictures: int) -> Prompt:
        """Return the prompt of messages or of one question, as `read_messages` reads them. Raises
        InvalidInput, also for words outside the vocabulary.
        """
        words = self.vocabulary
        ids = [words.id_of(BEGIN)]
        for place, message in enumerate(read_messages(given, pictures)):
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
