"""The forms of preprocessing are read, and what is wrong in one is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from importing.onnx_files.faults import ImportFault
from importing.pictures.preprocessing import Preprocessing, read_preprocessing

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "resize=256:bicubic,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,color=RGB",
            Preprocessing(resize=256, filter="bicubic", crop=(224, 224), **IMAGENET),
        ),
        ("mean=127;std=128;scale=1", Preprocessing(scale=1.0, mean=(127.0,), std=(128.0,))),
        ("resize=240x320", Preprocessing(resize=(240, 320))),
        ("color=bgr", Preprocessing(color="BGR")),
    ],
)
def test_a_text_is_read(text: str, steps: Preprocessing) -> None:
    assert read_preprocessing(text) == steps
    assert read_preprocessing(steps.describe()) == steps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crop", "given 'crop'; allowed are auto, none, timm:config.json"),
        ("sharpen=1", "given 'sharpen=1'"),
        ("resize=256:lanczos", "filters are bilinear, bicubic, nearest"),
        ("resize=0", "numbers from 1 to 4096"),
        ("mean=a", "given 'mean=a'"),
        ("std=0", "scale and std must be larger than 0"),
        ("mean=1:2", "one number, or three"),
        ("scale=inf", "must be finite"),
        ("color=CMYK", "colors are RGB and BGR"),
        ("timm:nowhere.json", "No such file"),
    ],
)
def test_a_wrong_text_is_named(text: str, words: str) -> None:
    with pytest.raises(ImportFault, match=words):
        read_preprocessing(text)


def _write(path: Path, table: object) -> Path:
    path.write_text(json.dumps(table))
    return path


def test_timms_config_is_read(tmp_path: Path) -> None:
    config = {
        "input_size": [3, 224, 224],
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        **IMAGENET,
    }
    path = _write(tmp_path / "config.json", {"architecture": "x", "pretrained_cfg": config})
    expected = Preprocessing(resize=256, filter="bicubic", crop=(224, 224), **IMAGENET)
    assert read_preprocessing(f"timm:{path}") == expected


@pytest.mark.parametrize(
    ("size", "resize"),
    [({"shortest_edge": 256}, 256), ({"height": 256, "width": 320}, (256, 320)), (256, (256, 256))],
)
def test_hugging_faces_config_is_read(size: object, resize: object, tmp_path: Path) -> None:
    config = {
        "do_resize": True,
        "size": size,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 224,
        "image_mean": IMAGENET["mean"],
        "image_std": IMAGENET["std"],
    }
    path = _write(tmp_path / "preprocessor_config.json", config)
    found = read_preprocessing(f"hf:{path}")
    assert (found.resize, found.filter, found.crop) == (resize, "bicubic", (224, 224))
    assert (found.scale, found.mean) == (255.0, IMAGENET["mean"])


@pytest.mark.parametrize("kind", ["timm", "hf"])
@pytest.mark.parametrize("content", ["[]", "{", '{"mean": 1, "image_mean": 1}'])
def test_a_config_without_its_facts_is_refused(kind: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ImportFault, match=r"no JSON|needs "):
        read_preprocessing(f"{kind}:{path}")
