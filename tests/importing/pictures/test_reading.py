"""Files of timm and Hugging Face: what is understood is applied, anything else is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from importing.onnx_files.faults import ImportFault
from importing.pictures.preprocessing import Preprocessing
from importing.pictures.reading import read_preprocessing

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TIMM: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    **IMAGENET,
}
HF: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": IMAGENET["mean"],
    "image_std": IMAGENET["std"],
}
PLAIN = Preprocessing(resize=(224, 224), **IMAGENET)


def _read(kind: str, table: object, tmp_path: Path) -> Preprocessing:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(table))
    return read_preprocessing(f"{kind}:{path}")


def _of(kind: str) -> dict[str, Any]:
    return {"image_processor_type": f"{kind}ImageProcessor"}


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({}, {"resize": 256}),
        ({"crop_pct": None}, {"resize": 256}),
        ({"crop_pct": 1.0}, {"resize": 224}),
        ({"crop_mode": "squash"}, {"resize": (256, 256)}),
        (
            {"crop_mode": "squash", "crop_pct": 1, "input_size": [3, 224, 320]},
            {"resize": (224, 320), "crop": (224, 320)},
        ),
        ({"interpolation": "bilinear"}, {"resize": 256, "filter": "bilinear"}),
        ({"num_classes": 10, "test_crop_pct": 1.0, "tag": "in1k"}, {"resize": 256}),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_timms_config_is_applied(
    change: dict[str, Any], steps: dict[str, Any], inside: bool, tmp_path: Path
) -> None:
    table: dict[str, Any] = TIMM | change
    if inside:
        table = {"architecture": "x", "num_features": 512, "pretrained_cfg": table}
    expected = {"filter": "bicubic", "crop": (224, 224), **IMAGENET, **steps}
    assert _read("timm", table, tmp_path) == Preprocessing(**expected)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({}, {}),
        ({"size": 224}, {}),
        ({"size": {"shortest_edge": 256}}, {"resize": 256}),
        ({**_of("CLIP"), "size": 256}, {"resize": 256}),
        ({**_of("ConvNext"), "size": {"shortest_edge": 224}}, {"resize": 256, "crop": (224, 224)}),
        (
            {**_of("ConvNext"), "size": {"shortest_edge": 224}, "crop_pct": 0.95},
            {"resize": 235, "crop": (224, 224)},
        ),
        (
            {**_of("ConvNext"), "size": {"shortest_edge": 384}, "crop_pct": 0.95},
            {"resize": (384, 384)},
        ),
        (
            {**_of("PoolFormer"), "crop_pct": 0.9, "do_center_crop": True, "crop_size": 224},
            {"resize": 248, "crop": (224, 224)},
        ),
        ({**_of("Levit"), "size": {"shortest_edge": 224}}, {"resize": 256}),
        (
            {"do_center_crop": True, "crop_size": {"height": 200, "width": 210}},
            {"crop": (200, 210)},
        ),
        ({"do_center_crop": False, "crop_size": 200}, {}),
        ({"do_resize": False}, {"resize": None}),
        ({"resample": 3}, {"filter": "bicubic"}),
        ({"resample": 0}, {"filter": "nearest"}),
        ({"rescale_factor": 0.01}, {"scale": 100.0}),
        ({"do_rescale": False}, {"scale": 1.0}),
        ({"do_normalize": False}, {"mean": (0.0,), "std": (1.0,)}),
        ({"image_mean": 0.5, "image_std": 0.25}, {"mean": (0.5,), "std": (0.25,)}),
        ({"do_flip_channel_order": True}, {"color": "BGR"}),
        ({"do_flip_channel_order": False}, {}),
        (_of("MobileViT"), {"color": "BGR", "mean": (0.0,), "std": (1.0,)}),
        (
            {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
            {"scale": 127.5, "mean": (1.0,), "std": (1.0,)},
        ),
        (
            {**_of("EfficientNet"), "image_std": 0.5, "image_mean": 0.1},
            {"mean": (0.1,), "std": (0.25,)},
        ),
        ({**_of("EfficientNet"), "include_top": False}, {}),
        (
            {"image_processor_type": "ViTImageProcessorFast", "crop_size": None, "device": None},
            {},
        ),
        ({"do_pad": False, "do_convert_rgb": True, "processor_class": "X"}, {}),
    ],
)
def test_hugging_faces_config_is_applied(
    change: dict[str, Any], steps: dict[str, Any], tmp_path: Path
) -> None:
    table = HF | change
    if "MobileViT" in table["image_processor_type"]:
        del table["do_normalize"]
    expected = {"resize": PLAIN.resize, **IMAGENET, **steps}
    assert _read("hf", table, tmp_path) == Preprocessing(**expected)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("timm", {"color": "BGR"}, "color = 'BGR' is not understood"),
        ("timm", {"crop_mode": "border"}, "crop_mode = 'border' is not understood"),
        ("timm", {"interpolation": "lanczos"}, "interpolation = 'lanczos' is none of bilinear"),
        ("timm", {"interpolation": ["bicubic"]}, "interpolation = .* is none of bilinear"),
        ("timm", {"mean": [False, 0.5, 0.5]}, "needs mean"),
        ("timm", {"crop_pct": 0}, "crop_pct = 0 is no number above 0"),
        ("timm", {"input_size": [3, 224, 320]}, "is no square"),
        ("timm", {"input_size": [4, 224, 224]}, r"needs input_size as \[3, height, width\]"),
        ("timm", {"mean": None}, "needs mean"),
        ("timm", {"std": [0.0, 1.0, 1.0]}, "std must be larger than 0"),
        ("hf", {"do_pad": True}, "do_pad = true is not understood"),
        ("hf", {"size_divisor": 32}, "size_divisor = 32 is not understood"),
        ("hf", {"do_color_quantize": True}, "do_color_quantize = true is not understood"),
        ("hf", {"auto_map": {"AutoImageProcessor": "a.B"}}, "auto_map names code of its own"),
        ("hf", _of("Perceiver"), "image_processor_type = 'Perceiver' is not understood"),
        ("hf", {"resample": False}, "resample = false is none of 0"),
        ("hf", {"resample": 1}, "resample = 1 is none of 0"),
        ("hf", {"resample": None}, "resample = null is none of 0"),
        ("hf", {"size": {"longest_edge": 400}}, "size = .*longest_edge.* is not understood"),
        ("hf", {"size": 224, "image_processor_type": None}, "may be one side or both"),
        ("hf", {"size": None}, "size = null is no number of pixels"),
        ("hf", {"crop_pct": 0.9}, "crop_pct without a processor that has it"),
        ("hf", {"crop_size": 224}, "crop_size without do_center_crop"),
        ("hf", {"rescale_offset": True}, "rescale_offset with rescale_factor = 0.00392"),
        ("hf", {"rescale_factor": -1}, "rescale_factor = -1 is no number above 0"),
        ("hf", {"do_normalize": "yes"}, "do_normalize = 'yes' is neither true nor false"),
        ("hf", {"image_mean": None}, "needs image_mean"),
        ("hf", {"image_std": [1, 2]}, "one number, or three"),
    ],
)
def test_what_is_not_understood_is_named(
    kind: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImportFault, match=words) as raised:
        _read(kind, (TIMM if kind == "timm" else HF) | change, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["timm", "hf"])
@pytest.mark.parametrize(
    ("content", "words"), [("[]", "no JSON object"), ("{", "is no JSON"), ("{}", "needs|size")]
)
def test_a_config_without_its_facts_is_refused(
    kind: str, content: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ImportFault, match=words):
        read_preprocessing(f"{kind}:{path}")
    with pytest.raises(ImportFault, match="No such file"):
        read_preprocessing(f"{kind}:{tmp_path}/nowhere.json")


def test_a_text_is_read_too() -> None:
    assert read_preprocessing("resize=256,crop=224") == Preprocessing(resize=256, crop=(224, 224))
