"""What a small vision-language model is asked in training: first to name what it sees, then all.

Naming whole rows and grids gives many words to learn from a picture, so that questions about
single cells, counts and comparisons begin with a model that sees. `SHORT` is for comparisons of
trainings. `BUDGETS` continues a model of `WHOLE`: every step drops another share of visual tokens,
so that one model serves all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NAMING: Mapping[str, float] = {
    "list": 3.0,
    "row": 2.0,
    "garment": 1.0,
    "object": 0.5,
    "colour": 1.0,
    "digits": 2.0,
}
ASKING: Mapping[str, float] = {
    "list": 1.0,
    "row": 1.0,
    "garment": 1.5,
    "object": 1.0,
    "colour": 0.5,
    "digits": 2.5,
    "count": 2.0,
    "same": 2.0,
    "where": 1.5,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum; `shares` says how often each family of questions is asked."""

    name: str
    shares: Mapping[str, float]
    epochs: int


@dataclass(frozen=True, slots=True)
class Curriculum:
    stages: tuple[Stage, ...]
    questions: int  # that share a picture
    pictures: int = 16  # of a batch
    steps: int = 100  # of an epoch
    judged: int = 96  # held-out pictures, after every epoch

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)


WHOLE = Curriculum((Stage("naming", NAMING, 20), Stage("asking", ASKING, 84)), questions=6)
SHORT = Curriculum((Stage("naming", NAMING, 8), Stage("asking", ASKING, 24)), questions=2)
BUDGETS = Curriculum((Stage("dropping", ASKING, 30),), questions=2, pictures=24, judged=192)
CURRICULA: Mapping[str, Curriculum] = {"whole": WHOLE, "short": SHORT, "budgets": BUDGETS}
