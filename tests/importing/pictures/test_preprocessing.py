"""Preprocessing as text is read, and what is wrong in one is named."""

from typing import Any

import pytest

from importing.onnx_files.faults import ImportFault
from importing.pictures.preprocessing import Preprocessing, read_text

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
    assert read_text(text) == steps
    assert read_text(steps.describe()) == steps


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
    ],
)
def test_a_wrong_text_is_named(text: str, words: str) -> None:
    with pytest.raises(ImportFault, match=words):
        read_text(text)
