"""Reads preprocessing as users have it: a file of timm or of Hugging Face, or a text.

What a key means is taken from the two libraries: timm's `transforms_imagenet_eval`, and the image
processors of transformers, whose names decide what some keys mean. Every key is either applied,
known to change no pixel, or refused by its name.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from importing.onnx_files.faults import ImportFault
from importing.pictures.preprocessing import (
    FILTERS,
    Color,
    Filter,
    Preprocessing,
    Size,
    check_steps,
    read_text,
)

Table = Mapping[str, Any]

_TIMM_APPLIED = {"input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std"}
# Facts about the weights, the classes and other sizes, which change no pixel.
_TIMM_OTHER = frozenset(
    [
        "architecture",
        "classifier",
        "custom_load",
        "description",
        "file",
        "first_conv",
        "fixed_input_size",
        "hf_hub_filename",
        "hf_hub_id",
        "label_descriptions",
        "label_names",
        "label_offset",
        "license",
        "max_input_size",
        "min_input_size",
        "notes",
        "num_classes",
        "num_features",
        "origin_url",
        "paper_ids",
        "paper_name",
        "pool_size",
        "source",
        "state_dict",
        "tag",
        "test_crop_pct",
        "test_input_size",
        "test_pool_size",
        "url",
        "global_pool",
        "model_args",
        "pretrained_cfg",
    ]
)
TIMM_CROP_PCT = 0.875  # where its config has none

_OF_PILLOW: Mapping[int, Filter] = MappingProxyType({0: "nearest", 2: "bilinear", 3: "bicubic"})
_HF_APPLIED = frozenset(
    [
        "crop_pct",
        "crop_size",
        "do_center_crop",
        "do_flip_channel_order",
        "do_normalize",
        "do_rescale",
        "do_resize",
        "image_mean",
        "image_std",
        "include_top",
        "resample",
        "rescale_factor",
        "rescale_offset",
        "size",
    ]
)
# Names, where the work is done, and what concerns labels or later stages.
_HF_OTHER = frozenset(
    [
        "_processor_class",
        "_valid_processor_keys",
        "data_format",
        "default_to_square",
        "device",
        "disable_grouping",
        "do_convert_rgb",
        "do_reduce_labels",
        "feature_extractor_type",
        "image_processor_type",
        "input_data_format",
        "model_input_names",
        "num_labels",
        "processor_class",
        "reduce_labels",
        "return_tensors",
        "transformers_version",
        "use_fast",
    ]
)
_SHORTER_SIDE = frozenset(  # in whose config a number as size is that of the shorter side
    {"Bit", "CLIP", "ConvNext", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT", "PoolFormer"}
)
_SQUARE = frozenset({"Beit", "Blip", "DeiT", "EfficientFormer", "EfficientNet", "Siglip", "ViT"})
CONVNEXT_WARPED_PX = 384  # from this size on it stretches the whole picture
CONVNEXT_CROP_PCT = 224 / 256
LEVIT_RESIZE = 256 / 224  # of its size
_UNIT_FACTOR = 1 / 127.5  # with which an offset of 1 gives -1 to 1


def read_preprocessing(text: str) -> Preprocessing:
    """Read one of the forms. Raises ImportFault, which names the key and what is allowed."""
    kind, _, rest = text.partition(":")
    if kind in {"timm", "hf"} and rest:
        return _read_file(kind, Path(rest))
    return read_text(text)


def _read_file(kind: str, path: Path) -> Preprocessing:
    place = f"--preprocess {kind}:{path}"
    try:
        table = json.loads(path.read_text())
    except OSError as error:
        raise ImportFault(f"{place}: {error.strerror}") from error
    except ValueError as error:
        raise ImportFault(f"{place}: is no JSON") from error
    if not isinstance(table, dict):
        raise ImportFault(f"{place}: is no JSON object")
    reader = _Reader({key: value for key, value in table.items() if value is not None}, place)
    return check_steps(_read_timm(reader) if kind == "timm" else _read_hf(reader), place)


class _Reader:
    """A table whose faults name the file and the key."""

    def __init__(self, table: Table, place: str) -> None:
        self.table = table
        self._place = place

    def fault(self, sentence: str) -> ImportFault:
        return ImportFault(
            f"{self._place}: {sentence}; give the steps as text, as in resize=256:bicubic,crop=224"
        )

    def part(self, key: str) -> "_Reader":
        """Return the reader of a table inside, or this one where there is none."""
        inner = self.table.get(key)
        if not isinstance(inner, dict):
            return self
        return _Reader({k: v for k, v in inner.items() if v is not None}, self._place)

    def refuse_others(self, known: Collection[str]) -> None:
        """Refuse a key that is not known, but what it does not do (do_… = false)."""
        for key, value in self.table.items():
            if key not in known and not (key.startswith("do_") and value is False):
                raise self.fault(f"{key} = {_show(value)} is not understood")

    def flag(self, key: str, default: bool) -> bool:
        value = self.table.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(f"{key} = {_show(value)} is neither true nor false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.fault(f"{key} = {_show(value)} is no number above 0")
        return float(value)

    def side(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.fault(f"{key} = {_show(value)} is no number of pixels")
        return value

    def channels(self, key: str) -> tuple[float, ...]:
        """Return one number, or one for each channel."""
        value = self.table.get(key)
        given = value if isinstance(value, list) else [value]
        numbers = [float(n) for n in given if isinstance(n, int | float) and type(n) is not bool]
        if len(numbers) != len(given):
            raise self.fault(f"needs {key}, given is {_show(value)}")
        return tuple(numbers)


def _read_timm(reader: _Reader) -> Preprocessing:
    """Resize the shorter side to size / crop_pct, then crop the centre; or stretch (squash)."""
    reader = reader.part("pretrained_cfg")
    reader.refuse_others(_TIMM_APPLIED | _TIMM_OTHER)
    size = reader.table.get("input_size")
    if not isinstance(size, list) or len(size) != 3 or size[0] not in (1, 3):
        raise reader.fault(f"needs input_size as [3, height, width], given is {_show(size)}")
    height, width = (reader.side("input_size", side) for side in size[1:])
    fraction = reader.number("crop_pct", TIMM_CROP_PCT)
    mode = reader.table.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise reader.fault(f"crop_mode = {_show(mode)} is not understood (center and squash are)")
    sides = (math.floor(height / fraction), math.floor(width / fraction))
    if mode == "center" and height != width:
        raise reader.fault(f"input_size = {_show(size)} with crop_mode = 'center' is no square")
    name = reader.table.get("interpolation", "bicubic")
    if not isinstance(name, str) or name not in FILTERS:
        raise reader.fault(f"interpolation = {_show(name)} is none of {', '.join(FILTERS)}")
    return Preprocessing(
        resize=sides if mode == "squash" else sides[0],
        filter=FILTERS[name],
        crop=(height, width),
        mean=reader.channels("mean"),
        std=reader.channels("std"),
    )


def _read_hf(reader: _Reader) -> Preprocessing:
    """Resize, crop the centre, rescale, normalise, order the colors."""
    if "auto_map" in reader.table:
        raise reader.fault("auto_map names code of its own")
    reader.refuse_others(_HF_APPLIED | _HF_OTHER)
    kind = _find_processor(reader)
    resize, crop = _read_hf_sizes(reader, kind)
    mean, std = _read_hf_numbers(reader, kind)
    factor = reader.number("rescale_factor", 1 / 255) if reader.flag("do_rescale", True) else 1.0
    flips = reader.flag("do_flip_channel_order", kind == "MobileViT")
    color: Color = "BGR" if flips else "RGB"
    name = _read_hf_filter(reader) if resize is not None else "bilinear"
    if reader.flag("rescale_offset", False):
        if not math.isclose(factor, _UNIT_FACTOR, rel_tol=1e-4):
            raise reader.fault(f"rescale_offset with rescale_factor = {factor:g} is not understood")
        mean = tuple(value + 1 for value in mean)  # x / 127.5 - 1 - mean
    return Preprocessing(resize, name, crop, round(1 / factor, 6), mean, std, color)


def _find_processor(reader: _Reader) -> str:
    """Return the kind of image processor, as ConvNext, or "" where the file has none."""
    table = reader.table
    name = str(table.get("image_processor_type") or table.get("feature_extractor_type") or "")
    for end in ("Fast", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(end)
    if name and name not in _SHORTER_SIDE | _SQUARE:
        raise reader.fault(f"image_processor_type = {_show(name)} is not understood")
    return name


def _read_hf_sizes(reader: _Reader, kind: str) -> tuple[int | Size | None, Size | None]:
    """Return the size to resize to, and the crop."""
    resizes = reader.flag("do_resize", True)
    resize = _read_hf_size(reader, "size", kind) if resizes else None
    crop = None
    if reader.flag("do_center_crop", False):
        found = _read_hf_size(reader, "crop_size", "ViT")
        crop = (found, found) if isinstance(found, int) else found
    elif "crop_size" in reader.table and "do_center_crop" not in reader.table:
        raise reader.fault("crop_size without do_center_crop is not understood")
    if kind == "ConvNext" and isinstance(resize, int):
        return _size_convnext(reader, resize)
    if kind == "Levit" and isinstance(resize, int):
        return int(LEVIT_RESIZE * resize), crop
    if "crop_pct" in reader.table and resizes:
        if kind != "PoolFormer":
            raise reader.fault("crop_pct without a processor that has it is not understood")
        fraction = reader.number("crop_pct", 1.0)
        side = resize if isinstance(resize, int) else _find_square(reader, resize)
        return int(side / fraction), crop
    return resize, crop


def _size_convnext(reader: _Reader, side: int) -> tuple[int | Size, Size | None]:
    """Below 384 pixels its processor crops by crop_pct; from there on it stretches."""
    if side >= CONVNEXT_WARPED_PX:
        return (side, side), None
    return int(side / reader.number("crop_pct", CONVNEXT_CROP_PCT)), (side, side)


def _find_square(reader: _Reader, size: Size | None) -> int:
    if size is None or size[0] != size[1]:
        raise reader.fault("size with crop_pct is no square")
    return size[0]


def _read_hf_size(reader: _Reader, key: str, kind: str) -> int | Size:
    """Return the shorter side, or height and width."""
    size = reader.table.get(key)
    if isinstance(size, dict):
        keys = {name for name, value in size.items() if value is not None}
        if keys == {"shortest_edge"}:
            return reader.side(f"{key}.shortest_edge", size["shortest_edge"])
        if keys == {"height", "width"}:
            return reader.side(f"{key}.height", size["height"]), reader.side(
                f"{key}.width", size["width"]
            )
        raise reader.fault(f"{key} = {_show(size)} is not understood")
    if isinstance(size, list) and len(size) == 2:
        return reader.side(key, size[0]), reader.side(key, size[1])
    side = reader.side(key, size)
    if kind == "":
        raise reader.fault(f"{key} = {side} without image_processor_type may be one side or both")
    return side if kind in _SHORTER_SIDE else (side, side)


def _read_hf_filter(reader: _Reader) -> Filter:
    number = reader.table.get("resample")
    if type(number) is not int or number not in _OF_PILLOW:
        raise reader.fault(
            f"resample = {_show(number)} is none of 0 (nearest), 2 (bilinear), 3 (bicubic)"
        )
    return _OF_PILLOW[number]


def _read_hf_numbers(reader: _Reader, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std; EfficientNet's processor divides by std once more for classifiers."""
    if not reader.flag("do_normalize", kind != "MobileViT"):
        return (0.0,), (1.0,)
    mean, std = reader.channels("image_mean"), reader.channels("image_std")
    if reader.flag("include_top", kind == "EfficientNet"):
        std = tuple(value * value for value in std)
    return mean, std


def _show(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
