"""How a decoded picture becomes what a model was trained on.

As text it is `resize`, `crop`, `scale`, `mean`, `std` and `color`; `reading` has the other forms.
`picture_nodes` writes it as ONNX nodes.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
        """Return the text that `read_text` reads."""
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


def read_text(text: str) -> Preprocessing:
    """Read the form of text. Raises ImportFault, which names the part and what is allowed."""
    facts: dict[str, Any] = {}
    for part in re.split(r"[,;]", text):
        key, sign, value = part.strip().partition("=")
        if not sign or key not in _PARTS:
            raise ImportFault(f"--preprocess: given {part!r}; {FORMS}")
        try:
            facts |= _PARTS[key](value)
        except ValueError as error:
            raise ImportFault(f"--preprocess: given {part!r}; {error or FORMS}") from error
    return check_steps(Preprocessing(**facts), f"--preprocess {text}")


def check_steps(given: Preprocessing, place: str) -> Preprocessing:
    """Return the steps, whose numbers are checked. Raises ImportFault, which names the place."""
    if given.scale <= 0 or any(value <= 0 for value in given.std):
        raise ImportFault(f"{place}: scale and std must be larger than 0")
    if {len(given.mean), len(given.std)} - {1, 3}:
        raise ImportFault(f"{place}: mean and std need one number, or three")
    numbers = (given.scale, *given.mean, *given.std)
    if not all(math.isfinite(value) for value in numbers):
        raise ImportFault(f"{place}: mean, std and scale must be finite")
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


def _square(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _show_size(size: int | Sequence[int]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))
