"""What both stages need of a vision-language model, from this project or from elsewhere.

Shapes: B rows, T tokens, L layers, N pictures, S side of a picture, V visual tokens of a picture,
D width, W words of the vocabulary.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tokens.pyramid_drop.dropping import Positions
from tokens.pyramid_drop.flops import DecoderShape
from tokens.vision_language.model import Dropping, Prompts
from tokens.vision_language.serving.row_cache import RowCache


class Sizes(Protocol):
    """A model's sizes, from which its costs follow."""

    @property
    def size_px(self) -> int:
        """Side of a picture as the route takes it."""

    @property
    def visual_tokens(self) -> int:
        """Of one picture."""

    @property
    def words(self) -> int:
        """Of the vocabulary."""

    @property
    def decoder(self) -> DecoderShape: ...

    @property
    def picture_macs(self) -> int:
        """Of one picture in the vision part."""


class Begun(NamedTuple):
    """Rows after their prefill."""

    logits_BW: Tensor  # of their first tokens
    caches: Sequence[RowCache]
    counts: Sequence[Tensor]  # by layer, the visual tokens [B] that it read
    # By layer, of the tokens that it read [B, T]: the picture (0: text), the place in the prompt.
    reads: Sequence[tuple[Tensor, Tensor]]


class Backbone(Protocol):
    """A model on its device."""

    @property
    def sizes(self) -> Sizes: ...

    @property
    def place(self) -> torch.device: ...

    @property
    def item_bytes(self) -> int:
        """Of one number in a cache of keys and values."""

    def see(self, pictures: Tensor, /) -> Tensor:
        """The visual tokens [N, V, D] of uint8 pictures [N, S, S, 3]."""

    def prefill(
        self, prompts: Prompts, features: Tensor | None, how: Dropping, rooms: Sequence[int], /
    ) -> Begun:
        """Run prompts, padded on the right, whose pictures have these visual tokens. `rooms`: how
        many further tokens each row may get."""

    def decode(self, id_B: Tensor, caches: Sequence[RowCache], positions: Positions, /) -> Tensor:
        """Feed one more token a row; the logits [B, W] of the next. The caches grow by it."""


class Prompt(NamedTuple):
    """The ids of a prompt, visual tokens included, and how many pictures it shows."""

    ids: Sequence[int]
    pictures: int


class Words(Protocol):
    """Ids and the text that they stand for."""

    @property
    def ends(self) -> Collection[int]:
        """The ids that end an answer, at least one."""

    def decode(self, ids: Iterable[int], /) -> str: ...


class Template(Protocol):
    """How texts become ids."""

    @property
    def vocabulary(self) -> Words: ...

    def read(self, given: str, pictures: int, /) -> Prompt:
        """The prompt of messages, or of one question. Raises InvalidInput."""
