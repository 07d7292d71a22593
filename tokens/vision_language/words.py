"""A closed vocabulary of words: prompts to ids and answers back.

A prompt is its words, lower-case and apart; a question mark is a word. Three ids are not words:
the beginning, a visual token's place, and the end of an answer; one word, `answer:`, ends a prompt.
"""

import re
from collections.abc import Iterable, Sequence

BEGIN, IMAGE, END, ANSWER = "<begin>", "<image>", "<end>", "answer:"
SPECIAL = (BEGIN, IMAGE, END, ANSWER)
_WORD = re.compile(r"[a-z0-9-]+|\?")


class Vocabulary:
    """Words and their ids, in a fixed order that begins with the special ones."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIAL, *words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("a vocabulary names a word twice")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return (self._ids[END],)

    def id_of(self, word: str) -> int:
        return self._ids[word]

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words. Raises ValueError that names the words that it lacks."""
        found = _WORD.findall(text.lower())
        if unknown := sorted({word for word in found if word not in self._ids}):
            raise ValueError(f"words outside the vocabulary of this model: {', '.join(unknown)}")
        return [self._ids[word] for word in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The words up to the end of the answer."""
        words: list[str] = []
        for index in ids:
            if self.words[index] == END:
                break
            words.append(self.words[index])
        return " ".join(words)
