"""timm's layout: a hand-made module with its names, and timm itself where it imports."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tokens.foreign.directory import read_foreign
from tokens.foreign.timm import convert_timm

CONFIG = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.3, 0.2)}
WIDTH, HEADS, PATCH, SIDE, CLASSES = 24, 3, 4, 3, 5
PICTURES = torch.randint(
    0, 256, (3, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
)


class Attention(nn.Module):
    def __init__(self, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=qkv_bias)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5).softmax(dim=-1)
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, WIDTH))
        return mixed


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.act: nn.Module = nn.GELU()
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, qkv_bias: bool, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-3)
        self.attn = Attention(qkv_bias)
        self.ls1 = LayerScale() if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-3)
        self.mlp = Mlp()
        self.ls2 = LayerScale() if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


class PatchEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.img_size = (SIDE * PATCH, SIDE * PATCH)
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)


class VisionTransformer(nn.Module):
    def __init__(
        self, *, qkv_bias: bool = True, scaled: bool = False, embed_class: bool = True
    ) -> None:
        super().__init__()
        self.pretrained_cfg, self.global_pool = dict(CONFIG), "token"
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, SIDE**2 + int(embed_class), WIDTH))
        self.blocks = nn.Sequential(*(Block(qkv_bias, scaled) for _ in range(2)))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-3)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        token = self.cls_token.expand(len(x), -1, -1)
        if self.pos_embed.shape[1] == SIDE**2:
            x = torch.cat([token, x + self.pos_embed], dim=1)
        else:
            x = torch.cat([token, x], dim=1) + self.pos_embed
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


def make(**options: bool) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def show(pictures: Tensor, config: dict[str, Any]) -> Tensor:
    mean, std = (torch.tensor(config[name]).view(-1, 1, 1) for name in ("mean", "std"))
    return (pictures.permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize(
    "options",
    [{}, {"scaled": True}, {"qkv_bias": False}, {"embed_class": False}],
    ids=["plain", "layer scale", "no bias of queries, keys and values", "class without position"],
)
@torch.no_grad()
def test_the_converted_net_has_the_modules_logits(options: dict[str, bool]) -> None:
    model = make(**options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    net, logits = convert_timm(model), model(show(PICTURES, CONFIG))
    assert logits.std() > 0.1
    torch.testing.assert_close(net(PICTURES), logits, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_module_without_a_head_gets_a_new_one() -> None:
    model = make()
    model.head = nn.Identity()  # type: ignore[assignment]
    assert convert_timm(model, classes=7)(PICTURES).shape == (3, 7)
    with pytest.raises(ValueError, match="without a head: give the number of classes"):
        convert_timm(model)


def change_pool(model: Any) -> None:
    model.global_pool = "avg"


def add_registers(model: Any) -> None:
    model.reg_token = nn.Parameter(torch.zeros(1, 4, WIDTH))


def add_query_norm(model: Any) -> None:
    model.blocks[1].attn.q_norm = nn.LayerNorm(8)


def change_activation(model: Any) -> None:
    model.blocks[1].mlp.act = nn.GELU(approximate="tanh")


def change_mlp(model: Any) -> None:
    model.blocks[0].mlp.__class__ = type("SwiGLU", (Mlp,), {})


def change_blocks(model: Any) -> None:
    model.blocks[1] = nn.Linear(WIDTH, WIDTH)


def change_stem(model: Any) -> None:
    model.patch_embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)


def change_norm(model: Any) -> None:
    model.norm = nn.LayerNorm(WIDTH, eps=1e-5)


def lose_positions(model: Any) -> None:
    model.pos_embed = None


def widen(model: Any) -> None:
    model.patch_embed.img_size = (8, 18)


def lose_config(model: Any) -> None:
    """As a module that was made by its class."""
    del model.pretrained_cfg


def forget_statistics(model: Any) -> None:
    model.pretrained_cfg = {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_pool, "pools by avg"),
        (add_registers, "with reg_token cannot be converted"),
        (add_query_norm, r"with blocks\.1\.attn\.q_norm\.bias cannot be converted"),
        (change_activation, "tanh"),
        (change_mlp, "of SwiGLU cannot be converted"),
        (change_blocks, "of Linear cannot be converted, of Block can"),
        (change_stem, "of Conv2d cannot be converted, of PatchEmbed can"),
        (change_norm, "1e-05"),
        (lose_positions, "without pos_embed"),
        (widen, "only squares"),
        (forget_statistics, "no mean and std of 3 channels"),
        (lose_config, "no mean and std of 3 channels"),
    ],
)
def test_other_modules_are_refused_in_a_sentence(change: Any, message: str) -> None:
    model = make()
    change(model)
    with pytest.raises(ValueError, match=message):
        convert_timm(model)


def test_other_classes_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="a Linear cannot be converted"):
        convert_timm(nn.Linear(3, 3))


def save(model: nn.Module, folder: Path, **described: Any) -> Path:
    described = {
        "architecture": "vit_tiny_patch4_12",
        "pretrained_cfg": {**CONFIG, "tag": "own"},
        **described,
    }
    (folder / "config.json").write_text(json.dumps(described))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@torch.no_grad()
def test_a_saved_module_is_read_from_its_directory(tmp_path: Path) -> None:
    model = make()
    for block in model.blocks:
        block.norm1.eps = block.norm2.eps = 1e-6  # type: ignore[union-attr]
    model.norm.eps = 1e-6
    net = read_foreign(
        save(model, tmp_path, num_classes=CLASSES, model_args={"global_pool": "token"})
    )
    expected = model(show(PICTURES, CONFIG))
    torch.testing.assert_close(net(PICTURES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"architecture": "vit_base_patch16_clip_224"}, "a plain vit or deit can"),
        ({"architecture": "swin_tiny_patch4_window7_224"}, "a plain vit or deit can"),
        ({"model_args": {"reg_tokens": 4}}, "with reg_tokens cannot be converted"),
        ({"model_args": {"img_size": [12, 24]}}, "only squares"),
        ({"model_args": {"num_heads": 7}}, "not a multiple of 7 heads"),
        ({"global_pool": "avg"}, "pools by avg"),
        ({"model_args": {"global_pool": "avg"}}, "pools by avg"),
        ({"pretrained_cfg": None}, "no mean and std"),
    ],
)
def test_other_directories_are_refused_in_a_sentence(
    tmp_path: Path, described: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_foreign(save(make(), tmp_path, **described))


def test_a_directory_without_weights_is_refused_in_a_sentence(tmp_path: Path) -> None:
    save(make(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        read_foreign(tmp_path)


@torch.no_grad()
def test_timms_own_net_has_the_same_logits() -> None:
    timm = pytest.importorskip("timm", reason="needs timm and torchvision", exc_type=ImportError)
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5).eval()
    pictures = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    expected = model(show(pictures, model.pretrained_cfg))
    torch.testing.assert_close(convert_timm(model)(pictures), expected, rtol=1e-4, atol=1e-4)
