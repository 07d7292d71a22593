"""Small random ViTs of transformers: the converted net has their logits; others are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokens.acm.network import AcmSettings
from tokens.acm.surgery import convert
from tokens.foreign.directory import read_foreign
from tokens.foreign.hugging_face import convert_hugging_face

transformers = pytest.importorskip("transformers", reason="needs pip install transformers==5.24.0")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 4,
}
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.3, 0.2)
PICTURES = torch.randint(
    0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
)


def make(kind: str = "ViTForImageClassification", **changes: Any) -> Any:
    torch.manual_seed(0)
    labels = {"num_labels": 5} if kind == "ViTForImageClassification" else {}
    model = getattr(transformers, kind)(transformers.ViTConfig(**{**SIZES, **labels, **changes}))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def show(pictures: Tensor) -> Tensor:
    """As its image processor would."""
    x_BCSS = pictures.permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(one).view(-1, 1, 1) for one in (MEAN, STD))
    return (x_BCSS - mean) / std


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False, "layer_norm_eps": 1e-3}])
@torch.no_grad()
def test_the_converted_net_has_the_models_logits(changes: dict[str, Any]) -> None:
    model = make(**changes)
    net = convert_hugging_face(model, MEAN, STD)
    logits = model(show(PICTURES)).logits
    assert logits.std() > 0.1
    torch.testing.assert_close(net(PICTURES), logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_model_without_a_classifier_gets_a_new_one() -> None:
    model = make("ViTModel")
    net = convert_hugging_face(model, MEAN, STD, classes=7)
    x_BTD = net.embed(PICTURES)
    for block in net.blocks:
        x_BTD = block(x_BTD)
    expected = model(show(PICTURES)).last_hidden_state
    torch.testing.assert_close(net.norm(x_BTD), expected, rtol=1e-4, atol=1e-4)
    assert net(PICTURES).shape == (3, 7)


@torch.no_grad()
def test_with_every_learner_the_net_with_learners_has_its_logits_too() -> None:
    net = convert_hugging_face(make(), MEAN, STD)
    acm = convert(net, AcmSettings(projections=False)).eval()
    for module in acm.modules_in_order():
        for layer in (module.gate.last, module.gate.shift):
            layer.weight.zero_()
        module.gate.last.bias.copy_(torch.arange(5))
    logits, choices = acm(PICTURES, torch.ones(3))
    assert all(choice.learners_BT.shape == (3, 17) for choice in choices)
    torch.testing.assert_close(logits, net(PICTURES), rtol=1e-4, atol=1e-4)


def save(model: Any, folder: Path, **processing: Any) -> Path:
    model.save_pretrained(folder)
    described = {"image_mean": MEAN, "image_std": STD, **processing}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


@torch.no_grad()
def test_a_saved_model_is_read_from_its_directory(tmp_path: Path) -> None:
    model = make()
    net = read_foreign(save(model, tmp_path))
    expected = model(show(PICTURES)).logits
    torch.testing.assert_close(net(PICTURES), expected, rtol=1e-4, atol=1e-4)
    assert (net.spec.mean, net.spec.std) == (MEAN, STD)


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    model = make()
    save(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be read"):
        read_foreign(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "quick_gelu"}, "quick_gelu cannot be converted"),
        ({"image_size": (16, 32)}, "only squares"),
        ({"num_channels": 1}, "3 means for pictures of 1 channels"),
    ],
)
def test_other_vits_are_refused_in_a_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_hugging_face(make(**change), MEAN, STD)


def test_other_models_are_refused_in_a_sentence() -> None:
    deit = transformers.DeiTModel(transformers.DeiTConfig(**SIZES))
    with pytest.raises(ValueError, match="a DeiTModel cannot be converted"):
        convert_hugging_face(deit, MEAN, STD)
    with pytest.raises(ValueError, match="a ViTModel has no classifier"):
        convert_hugging_face(make("ViTModel"), MEAN, STD)
    with pytest.raises(ValueError, match="has its classes already"):
        convert_hugging_face(make(), MEAN, STD, classes=3)
    mim = transformers.ViTForMaskedImageModeling(transformers.ViTConfig(**SIZES))
    with pytest.raises(ValueError, match="a ViTForMaskedImageModeling cannot be converted"):
        convert_hugging_face(mim, MEAN, STD)


def test_a_model_with_more_than_vits_have_is_refused() -> None:
    model = make()
    model.vit.layers[0].attention.q_norm = nn.LayerNorm(8)
    with pytest.raises(ValueError, match=r"q_norm\.bias cannot be converted"):
        convert_hugging_face(model, MEAN, STD)


def test_unusable_directories_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        read_foreign(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="neither timm's architecture nor a model_type"):
        read_foreign(tmp_path)
    save(make("ViTModel"), tmp_path)
    with pytest.raises(ValueError, match="needed is a vit model for"):
        read_foreign(tmp_path)
    save(make(), tmp_path, do_normalize=False)
    with pytest.raises(ValueError, match="not scaled to"):
        read_foreign(tmp_path)
    save(make(), tmp_path, image_mean=None)
    with pytest.raises(ValueError, match="image_mean and image_std are needed"):
        read_foreign(tmp_path)


def test_a_directory_whose_weights_lack_the_classifier_is_refused(tmp_path: Path) -> None:
    save(make("ViTModel"), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["architectures"] = ["ViTForImageClassification"]
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="its weights lack classifier"):
        read_foreign(tmp_path)
