"""How a decoded picture becomes what a model was trained on, and the forms in which users have it.

`resize`, `crop`, `scale`, `mean`, `std` and `color` in a text; the config.json of timm; the
preprocessor_config.json of Hugging Face. `picture_nodes` writes it as ONNX nodes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from importing.onnx_files.faults import ImportFault

Filter = Literal["bilinear", "bicubic", "nearest"]
Color = Literal["RGB", "BGR"]
Size = tuple[int, int]  # height, width

FORMS = (
    "allowed are auto, none, timm:config.json, hf:preprocessor_config.json, or resize=256:bicubic,"
    "crop=224,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,color=RGB"
)
FILTERS: Mapping[str, Filter] = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "nearest": "nearest",
}
_OF_PILLOW: Mapping[int, Filter] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
MAX_SIDE_PX = 4096


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Steps in their order; one that is None or neutral is left out."""

    resize: int | Size | None = None  # a number: the shorter side
    filter: Filter = "bilinear"
    crop: Size | None = None  # from the centre
    scale: float = 255.0  # pixels are divided by it
    mean: tuple[float, ...] = (0.0,)  # after scaling; one for all channels, or one each
    std: tuple[float, ...] = (1.0,)
    color: Color = "RGB"

    def describe(self) -> str:
        """Return the text that `read_preprocessing` reads."""
        parts = []
        if self.resize is not None:
            parts.append(f"resize={_show_size(self.resize)}:{self.filter}")
        if self.crop is not None:
            parts.append(f"crop={_show_size(self.crop)}")
        parts.append(f"scale={self.scale:g}")
        if any(self.mean):
            parts.append(f"mean={':'.join(f'{value:g}' for value in self.mean)}")
        if any(value != 1 for value in self.std):
            parts.append(f"std={':'.join(f'{value:g}' for value in self.std)}")
        return ",".join([*parts, f"color={self.color}"])


def read_preprocessing(text: str) -> Preprocessing:
    """Read one of the forms. Raises ImportFault, which names the part and what is allowed."""
    kind, _, rest = text.partition(":")
    if kind in {"timm", "hf"} and rest:
        table = _read_json(Path(rest), text)
        return _read_timm(table, rest) if kind == "timm" else _read_hf(table, rest)
    facts: dict[str, Any] = {}
    for part in re.split(r"[,;]", text):
        key, sign, value = part.strip().partition("=")
        if not sign or key not in _PARTS:
            raise ImportFault(f"--preprocess: given {part!r}; {FORMS}")
        try:
            facts |= _PARTS[key](value)
        except ValueError as error:
            raise ImportFault(f"--preprocess: given {part!r}; {error or FORMS}") from error
    return _check(Preprocessing(**facts), text)


def _check(given: Preprocessing, place: str) -> Preprocessing:
    if given.scale <= 0 or any(value <= 0 for value in given.std):
        raise ImportFault(f"--preprocess: {place}: scale and std must be larger than 0")
    if {len(given.mean), len(given.std)} - {1, 3}:
        raise ImportFault(f"--preprocess: {place}: mean and std need one number, or three")
    numbers = (given.scale, *given.mean, *given.std)
    if not all(math.isfinite(value) for value in numbers):
        raise ImportFault(f"--preprocess: {place}: mean, std and scale must be finite")
    return given


def _read_sides(text: str) -> int | Size:
    sides = [int(side) for side in text.split("x")]
    if not 1 <= len(sides) <= 2 or not all(1 <= side <= MAX_SIDE_PX for side in sides):
        raise ValueError(
            f"a size is one or two numbers from 1 to {MAX_SIDE_PX}, as in 224 or 224x320"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _read_resize(text: str) -> dict[str, Any]:
    sides, _, name = text.partition(":")
    if name and name not in FILTERS:
        raise ValueError(f"filters are {', '.join(FILTERS)}")
    return {"resize": _read_sides(sides), **({"filter": FILTERS[name]} if name else {})}


def _read_crop(text: str) -> dict[str, Any]:
    return {"crop": _square(_read_sides(text))}


def _read_numbers(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda text: {name: tuple(float(one) for one in re.split(r"[:/ ]+", text.strip()))}


def _read_color(text: str) -> dict[str, Any]:
    if text.upper() not in {"RGB", "BGR"}:
        raise ValueError("colors are RGB and BGR")
    return {"color": text.upper()}


_PARTS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "resize": _read_resize,
    "crop": _read_crop,
    "scale": lambda text: {"scale": float(text)},
    "mean": _read_numbers("mean"),
    "std": _read_numbers("std"),
    "color": _read_color,
}


def _read_json(path: Path, text: str) -> Mapping[str, Any]:
    try:
        table = json.loads(path.read_text())
    except OSError as error:
        raise ImportFault(f"--preprocess: {text}: {error.strerror}") from error
    except ValueError as error:
        raise ImportFault(f"--preprocess: {text}: is no JSON") from error
    if not isinstance(table, dict):
        raise ImportFault(f"--preprocess: {text}: is no JSON object")
    return table


def _read_timm(table: Mapping[str, Any], place: str) -> Preprocessing:
    """Read timm's config: resize the shorter side to size / crop_pct, then crop the centre."""
    config = table.get("pretrained_cfg", table)
    try:
        _, height, width = config["input_size"]
        fraction = float(config.get("crop_pct") or 1.0)
        resize: int | Size = math.floor(height / fraction)
        if height != width or config.get("crop_mode") == "squash":
            resize = (math.floor(height / fraction), math.floor(width / fraction))
        return _check(
            Preprocessing(
                resize=resize,
                filter=FILTERS[config.get("interpolation", "bicubic")],
                crop=(height, width),
                mean=tuple(config["mean"]),
                std=tuple(config["std"]),
            ),
            place,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        if isinstance(error, ImportFault):
            raise
        raise ImportFault(
            f"--preprocess: {place}: needs input_size, mean and std as timm writes them"
        ) from error


def _read_hf(table: Mapping[str, Any], place: str) -> Preprocessing:
    try:
        resize = _read_hf_size(table.get("size")) if table.get("do_resize", True) else None
        crop = None
        if table.get("do_center_crop"):
            crop = _square(_read_hf_size(table.get("crop_size")) or 0)
        factor = float(table.get("rescale_factor", 1 / 255)) if table.get("do_rescale", True) else 1
        normalised = table.get("do_normalize", True)
        return _check(
            Preprocessing(
                resize=resize,
                filter=_OF_PILLOW[int(table.get("resample", 2))],
                crop=crop,
                scale=round(1 / factor, 6),
                mean=tuple(table["image_mean"]) if normalised else (0.0,),
                std=tuple(table["image_std"]) if normalised else (1.0,),
            ),
            place,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        if isinstance(error, ImportFault):
            raise
        raise ImportFault(
            f"--preprocess: {place}: needs size, image_mean and image_std as Hugging Face writes "
            "them"
        ) from error


def _read_hf_size(size: Any) -> int | Size | None:  # of JSON
    if size is None:
        return None
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _square(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _show_size(size: int | Sequence[int]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))
