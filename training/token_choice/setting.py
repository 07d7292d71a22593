"""What all phases share: the nets, the data, and the batches."""

from dataclasses import dataclass

from tokens.acm.network import AcmVit
from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet


@dataclass(frozen=True, slots=True)
class Setting:
    """A net with learners, the dense net that it was made from, and what they learn on."""

    net: AcmVit
    dense: VisionTransformer
    data: DataSet
    seed: int
    origin: str  # what decided the weights before the phases, as one line
