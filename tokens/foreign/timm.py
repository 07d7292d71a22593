"""A timm `VisionTransformer` as our dense net: from the module, or from a saved directory.

timm itself is never imported: names and attributes are those that its documentation and its files
have. Of its many variants those with plain blocks can be converted; a directory says which variant
it holds only by the name of the architecture, so there only names of plain ones are read.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tokens.foreign.files import read_json, read_weights
from tokens.foreign.weights import ForeignBlock, Weights, count_side, fill
from tokens.vision_transformer import PatchSpec, VisionTransformer

KIND = "a timm VisionTransformer"
HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}
PLAIN = re.compile(rf"(?:vit|deit)_({'|'.join(HEADS)})_patch\d+_\d+(?:\..*)?")
NORM_EPS = 1e-6
# What `model_args` may change: sizes that the weights show, and what only training uses.
SIZES = {"img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "mlp_ratio",
         "num_heads", "qkv_bias", "init_values", "no_embed_class", "dynamic_img_size",
         "strict_img_size", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate",
         "attn_drop_rate", "drop_path_rate"}  # fmt: skip


def convert_timm(model: Any, classes: int | None = None) -> VisionTransformer:
    """A new net with the module's weights; the module stays as it is.

    Mean and deviation of the pixels come from its `pretrained_cfg`. A module without a head
    (`num_classes=0`) gets a random one for `classes`. Raises ValueError in one sentence for what
    cannot be converted.
    """
    _check_module(model)
    first = model.blocks[0]
    return _convert(
        model.state_dict(),
        getattr(model, "pretrained_cfg", None) or {},
        heads=first.attn.num_heads,
        eps=first.norm1.eps,
        classes=classes,
    )


def read_timm(folder: Path) -> VisionTransformer:
    """The net in a directory with timm's `config.json` and `model.safetensors`.

    Raises ValueError in one sentence for what cannot be converted.
    """
    described = read_json(folder / "config.json")
    name, changes = str(described.get("architecture")), described.get("model_args") or {}
    known = PLAIN.fullmatch(name)
    if known is None:
        raise ValueError(f"{folder}: a {name} cannot be converted, a plain vit or deit can")
    pool = changes.pop("global_pool", described.get("global_pool", "token"))
    if pool != "token":
        raise ValueError(
            f"{folder}: a {name} that pools by {pool} cannot be converted, by token can"
        )
    if other := sorted(changes.keys() - SIZES):
        raise ValueError(f"{folder}: a {name} with {other[0]} cannot be converted")
    _check_square(changes.get("img_size"))
    heads = int(changes.get("num_heads", HEADS[known[1]]))
    config = described.get("pretrained_cfg") or described  # older files have one level
    return _convert(read_weights(folder), config, heads=heads, eps=NORM_EPS, classes=None)


def _convert(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    heads: int,
    eps: float,
    classes: int | None,
) -> VisionTransformer:
    weights = Weights(tensors, KIND)
    stem = weights.take_linear("patch_embed.proj")
    positions = weights.take("pos_embed").squeeze(0)
    head = weights.take_linear("head") if weights.has("head.weight") else None
    if head is not None and classes is not None:
        raise ValueError(f"{KIND} with a head has its classes already")
    if head is not None:
        classes = len(head.weight)
    if classes is None:
        raise ValueError(f"{KIND} without a head: give the number of classes")
    layers = 1 + max((_number(name) for name in tensors), default=-1)
    blocks = [_take_block(weights, f"blocks.{place}.") for place in range(layers)]
    if not blocks:
        raise ValueError(f"{KIND} without blocks cannot be converted")
    width, channels, *patch = stem.weight.shape
    side = count_side(len(positions))
    if len(set(patch)) > 1 or side == 0:
        raise ValueError(
            f"{KIND} with {len(positions)} positions and patches of {patch} pixels cannot be "
            "converted, one for square pictures can"
        )
    mean, std = _read_statistics(config, channels)
    spec = PatchSpec(
        side * patch[0],
        classes,
        mean,
        std,
        width,
        layers,
        heads,
        len(blocks[0].first.weight),
        patch_px=patch[0],
        norm_eps=eps,
    )
    token, norm = weights.take("cls_token"), weights.take_linear("norm")
    weights.check_all_taken()
    return fill(spec, stem, token, positions, blocks, norm, head, KIND)


def _take_block(weights: Weights, at: str) -> ForeignBlock:
    q, k, v = weights.take_linear(f"{at}attn.qkv").split(3)
    return ForeignBlock(
        attention_norm=weights.take_linear(f"{at}norm1"),
        q=q,
        k=k,
        v=v,
        o=weights.take_linear(f"{at}attn.proj").scale(weights.take_optional(f"{at}ls1.gamma")),
        mlp_norm=weights.take_linear(f"{at}norm2"),
        first=weights.take_linear(f"{at}mlp.fc1"),
        second=weights.take_linear(f"{at}mlp.fc2").scale(weights.take_optional(f"{at}ls2.gamma")),
    )


def _check_module(model: Any) -> None:
    """Raise ValueError for what the names of the weights do not show."""
    kind = type(model).__name__
    if kind != "VisionTransformer" or isinstance(model, VisionTransformer):
        raise ValueError(f"a {kind} cannot be converted, {KIND} can")
    if model.global_pool != "token":
        raise ValueError(f"{KIND} that pools by {model.global_pool} cannot be converted")
    if not len(model.blocks):
        raise ValueError(f"{KIND} without blocks cannot be converted")
    _check_kind(model.patch_embed, "PatchEmbed")
    for block in model.blocks:
        _check_block(block)
    first = model.blocks[0].norm1
    for norm in (model.norm, *(norm for one in model.blocks for norm in (one.norm1, one.norm2))):
        if not isinstance(norm, nn.LayerNorm) or norm.eps != first.eps:
            raise ValueError(f"{KIND} with {norm} cannot be converted, with one LayerNorm can")
    _check_square(getattr(model.patch_embed, "img_size", None))


def _check_block(block: Any) -> None:
    _check_kind(block, "Block")
    _check_kind(block.attn, "Attention")
    _check_kind(block.mlp, "Mlp")
    act = block.mlp.act
    if not isinstance(act, nn.GELU) or act.approximate != "none":
        raise ValueError(f"{KIND} with {act} cannot be converted, with GELU() can")


def _check_kind(part: Any, expected: str) -> None:
    if (found := type(part).__name__) != expected:
        raise ValueError(f"{KIND} of {found} cannot be converted, of {expected} can")


def _check_square(size: Any) -> None:
    """A number, a pair, or None."""
    if isinstance(size, list | tuple) and len(set(size)) > 1:
        raise ValueError(f"{KIND} for pictures of {size} pixels cannot be converted, only squares")


def _read_statistics(
    config: Mapping[str, Any], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = (_as_floats(config.get(name)) for name in ("mean", "std"))
    if not len(mean) == len(std) == channels:
        raise ValueError(
            f"{KIND} whose pretrained_cfg has no mean and std of {channels} channels cannot be "
            "converted"
        )
    return mean, std


def _as_floats(values: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(float(one) for one in values or ())


def _number(name: str) -> int:
    """The layer that a weight belongs to, or -1."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return -1 if found is None else int(found[1])
