"""A `ViTForImageClassification` or `ViTModel` of Hugging Face transformers as our dense net.

Tested with transformers 5.24.0. Only reading a directory imports it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tokens.foreign.files import read_json
from tokens.foreign.weights import ForeignBlock, Weights, fill
from tokens.vision_transformer import PatchSpec, VisionTransformer

CLASSIFIER, MODEL = "ViTForImageClassification", "ViTModel"
BYTES = 255.0


def convert_hugging_face(
    model: Any,  # transformers has no types
    mean: Sequence[float],
    std: Sequence[float],
    classes: int | None = None,
) -> VisionTransformer:
    """A new net with the model's weights; the model stays as it is.

    `mean`, `std`: of its image processor, one a channel. A `ViTModel` has no classifier: the net
    gets a random one for `classes`. Raises ValueError in one sentence for what cannot be converted.
    """
    kind = type(model).__name__
    if kind not in (CLASSIFIER, MODEL):
        raise ValueError(f"a {kind} cannot be converted, a {CLASSIFIER} or a {MODEL} can")
    has_head = kind == CLASSIFIER
    if has_head == (classes is not None):
        raise ValueError(
            f"a {CLASSIFIER} has its classes already"
            if has_head
            else f"a {MODEL} has no classifier: give the number of classes"
        )
    spec = _read_spec(model.config, mean, std, classes or model.config.num_labels)
    weights, kind = Weights(model.state_dict(), f"a {kind}"), f"a {kind}"
    prefix = "vit." if has_head else ""
    for name in ("weight", "bias"):
        weights.drop(f"{prefix}pooler.dense.{name}")  # the logits are not made of it
    embeddings = f"{prefix}embeddings."
    net = fill(
        spec,
        weights.take_linear(f"{embeddings}patch_embeddings.projection"),
        weights.take(f"{embeddings}cls_token"),
        weights.take(f"{embeddings}position_embeddings").squeeze(0),
        [_take_block(weights, f"{prefix}layers.{place}.") for place in range(spec.layers)],
        weights.take_linear(f"{prefix}layernorm"),
        weights.take_linear("classifier") if has_head else None,
        kind,
    )
    weights.check_all_taken()
    return net


def read_hugging_face(folder: Path) -> VisionTransformer:
    """The net in a directory with `config.json`, `preprocessor_config.json` and safetensors.

    Raises ValueError in one sentence, also where transformers is not installed.
    """
    described = read_json(folder / "config.json")
    made_for = described.get("architectures")
    if described.get("model_type") != "vit" or made_for != [CLASSIFIER]:
        raise ValueError(
            f"{folder}: has a {described.get('model_type')} model for {made_for}, needed is a vit "
            f"model for {[CLASSIFIER]}"
        )
    mean, std = _read_statistics(folder / "preprocessor_config.json")
    try:
        from transformers import ViTForImageClassification
    except ImportError as error:
        raise ValueError(f"{folder}: reading it needs transformers ({error})") from error
    try:
        loaded: Any = ViTForImageClassification.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder}: its weights cannot be read ({reason})") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{folder}: its weights lack {missing[0]}")
    return convert_hugging_face(model, mean, std)


def _read_spec(config: Any, mean: Sequence[float], std: Sequence[float], classes: int) -> PatchSpec:
    if config.hidden_act != "gelu":
        raise ValueError(f"a ViT with {config.hidden_act} cannot be converted, one with gelu can")
    if len(mean) != config.num_channels:
        raise ValueError(f"{len(mean)} means for pictures of {config.num_channels} channels")
    return PatchSpec(
        _read_side(config.image_size, "pictures"),
        classes,
        tuple(mean),
        tuple(std),
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.intermediate_size,
        patch_px=_read_side(config.patch_size, "patches"),
        norm_eps=config.layer_norm_eps,
    )


def _read_side(size: int | Sequence[int], what: str) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise ValueError(f"a ViT with {what} of {size} pixels cannot be converted, only squares")
    return sides.pop()


def _take_block(weights: Weights, at: str) -> ForeignBlock:
    return ForeignBlock(
        attention_norm=weights.take_linear(f"{at}layernorm_before"),
        q=weights.take_linear(f"{at}attention.q_proj"),
        k=weights.take_linear(f"{at}attention.k_proj"),
        v=weights.take_linear(f"{at}attention.v_proj"),
        o=weights.take_linear(f"{at}attention.o_proj"),
        mlp_norm=weights.take_linear(f"{at}layernorm_after"),
        first=weights.take_linear(f"{at}mlp.fc1"),
        second=weights.take_linear(f"{at}mlp.fc2"),
    )


def _read_statistics(path: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels."""
    found = read_json(path)
    factor = found.get("rescale_factor", 1 / BYTES)
    if abs(factor * BYTES - 1) > 1e-6 or not all(
        found.get(step, True) for step in ("do_rescale", "do_normalize")
    ):
        raise ValueError(f"{path}: pixels are not scaled to [0, 1] and normalised, which is needed")
    try:
        return list(found["image_mean"]), list(found["image_std"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: image_mean and image_std are needed") from error
