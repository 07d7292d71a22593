"""A trained net with learners from its weights alone: they tell what was replaced, and by what."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import VitSpec


def load_acm(path: Path, spec: VitSpec) -> AcmVit:
    """The net in a safetensors file, for evaluation. ValueError in one sentence for another."""
    try:
        weights = load_file(path)
        net = AcmVit(spec, find_settings(weights))
        net.load_state_dict(weights)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: no net with learners of this architecture") from error
    return net.eval()


def find_settings(weights: Mapping[str, Tensor]) -> AcmSettings:
    """Read from the first layer. Raises KeyError where it has no learners."""
    logits = weights["blocks.0.mlp.gate.last.weight"]
    prefix = "blocks.0.attention.inputs."
    inputs = {name.removeprefix(prefix)[0] for name in weights if name.startswith(prefix)}
    return AcmSettings(
        learners=len(logits) - 1,  # an MLP may run none
        projections=bool(inputs),
        shared_gate=len(inputs) == 1,
        gate_width=logits.shape[1],
    )
