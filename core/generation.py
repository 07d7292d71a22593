"""Pipelines that answer in tokens, step by step, to a chat's messages.

Endpoints for chats serve the routes of such pipelines: their inputs are `prompt`, a JSON list of
messages, and the pictures that these show; their outputs are `text`, the answer so far, and
`finish`, why it ended.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from core.messages import Outcome, Pipeline


class TokenCounts(NamedTuple):
    """The tokens of one row."""

    prompt: int  # visual tokens included
    visual: int  # of the prompt's pictures
    kept: float  # of them, the mean number that a layer read
    generated: int


@runtime_checkable
class Generates(Protocol):
    """A pipeline that generates tokens."""

    @property
    def max_pictures(self) -> int:
        """The most pictures of one prompt."""

    def count_tokens(self, outcome: Outcome, /) -> TokenCounts:
        """Return the tokens of an answer."""


def find_generation(pipeline: Pipeline) -> Generates | None:
    """Return the pipeline as one that generates; None if it does not."""
    return pipeline if isinstance(pipeline, Generates) else None
