"""Preprocessing as plain ONNX nodes in front of a model: a uint8 canvas in, the model's floats out.

The order is Pillow's and torchvision's: colors, resize (antialiased, as Pillow), crop, scale,
normalise, layout. The server so needs no runtime beside ONNX Runtime, and what was measured is what
is served.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from importing.onnx_files.editing import LEAST_OPSET, GraphEditor, raise_opset, replace_input
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import FREE, Tensor, copy_model
from importing.pictures.preprocessing import Preprocessing, Size

RESIZE_OPSET = 18  # the first with antialias
_FLOATS = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "FP64": TensorProto.DOUBLE}


@dataclass(frozen=True, slots=True)
class Canvas:
    """The route's picture input: UINT8 [N, height, width], or [N, height, width, 3]."""

    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        sides = (self.height, self.width)
        return sides if self.channels == 1 else (*sides, self.channels)


@dataclass(frozen=True, slots=True)
class PictureInput:
    """A model's input for pictures."""

    tensor: Tensor
    layout: str  # NCHW, NHWC or NHW
    channels: int
    height: int  # FREE: any
    width: int

    @property
    def size(self) -> Size | None:
        """Height and width, or None where they are free."""
        return None if FREE in (self.height, self.width) else (self.height, self.width)


def put_pictures_in_front(
    model: onnx.ModelProto,
    taken: PictureInput,
    canvas: Canvas,
    steps: Preprocessing,
    name: str = "image",
) -> onnx.ModelProto:
    """Return the model with an input `name`, UINT8 [N, *canvas], and the steps in front of it.

    Raises ImportFault if the steps do not make what the model takes.
    """
    target = plan_size(canvas, steps, taken)
    resized = _find_resized(canvas, steps, target)
    changed = raise_opset(copy_model(model), RESIZE_OPSET if resized else LEAST_OPSET)
    inner = replace_input(changed, taken.tensor.name, name, TensorProto.UINT8, ("N", *canvas.shape))
    graph = GraphEditor(changed, "sparing")
    x = _read_canvas(graph, name, canvas, taken.channels)
    x = _order_colors(graph, x, steps, taken.channels)
    if resized is not None:
        x = _resize(graph, x, resized, steps.filter)
    made = resized or (canvas.height, canvas.width)
    if made != target:
        x = _crop(graph, x, made, target)
    x = _normalise(graph, x, steps, taken.channels)
    _shape_output(graph, x, taken, inner)
    graph.put_first()
    return changed


def plan_size(canvas: Canvas, steps: Preprocessing, taken: PictureInput) -> Size:
    """Return the height and width that the model gets. Raises ImportFault if it takes others."""
    made = steps.crop or _find_resize_target(canvas, steps) or taken.size
    made = made or (canvas.height, canvas.width)
    if taken.size is not None and made != taken.size:
        raise ImportFault(
            f"preprocessing makes {made[0]}×{made[1]} pixels, input {taken.tensor.name} takes "
            f"{taken.height}×{taken.width}; add crop={taken.height}x{taken.width} or "
            f"resize={taken.height}x{taken.width}"
        )
    return made


def _find_resize_target(canvas: Canvas, steps: Preprocessing) -> Size | None:
    if steps.resize is None or not isinstance(steps.resize, int):
        return steps.resize
    shorter = min(canvas.height, canvas.width)
    return (
        round(canvas.height * steps.resize / shorter),
        round(canvas.width * steps.resize / shorter),
    )


def _find_resized(canvas: Canvas, steps: Preprocessing, target: Size) -> Size | None:
    """Return the size to resize to before the crop, or None where the canvas has it already."""
    size = _find_resize_target(canvas, steps)
    if size is None and steps.crop is None:
        size = target
    if size is not None and (size[0] < target[0] or size[1] < target[1]):
        raise ImportFault(
            f"preprocessing resizes to {size[0]}×{size[1]} pixels, which is smaller than its crop"
        )
    given = (canvas.height, canvas.width)
    if size is None and (given[0] < target[0] or given[1] < target[1]):
        raise ImportFault(f"pictures of {given[0]}×{given[1]} pixels are smaller than the crop")
    return None if size in (None, given) else size


def _read_canvas(graph: GraphEditor, name: str, canvas: Canvas, channels: int) -> str:
    """Return the canvas as float32 [N, C, H, W] with the model's number of channels."""
    x = graph.add("Cast", name, to=TensorProto.FLOAT)
    if canvas.channels == 1:
        x = graph.add("Unsqueeze", x, graph.constant(np.array([1], np.int64)))
        if channels == 3:
            x = graph.add("Concat", x, x, x, axis=1)
        return x
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    if channels == 1:  # as Pillow turns RGB into grey
        grey = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
        x = graph.add("Conv", x, graph.constant(grey))
    return x


def _order_colors(graph: GraphEditor, x: str, steps: Preprocessing, channels: int) -> str:
    if steps.color == "RGB" or channels == 1:
        return x
    return graph.add("Gather", x, graph.constant(np.array([2, 1, 0], np.int64)), axis=1)


def _resize(graph: GraphEditor, x: str, size: Size, kind: str) -> str:
    """All four sizes are given: behind a Transpose, ONNX Runtime 1.31 loses sizes of some axes when
    it optimises an int8 file.
    """
    rows = graph.add("Shape", x, start=0, end=2)
    sizes = graph.add("Concat", rows, graph.constant(np.array(size, np.int64)), axis=0)
    if kind == "nearest":
        return graph.add("Resize", x, "", "", sizes, mode="nearest")
    x = graph.add(
        "Resize",
        x,
        "",
        "",
        sizes,
        mode="linear" if kind == "bilinear" else "cubic",
        antialias=1,
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.5,
        exclude_outside=1 if kind == "bicubic" else 0,
    )
    # Pillow's result is whole numbers from 0 to 255.
    low, high = graph.constant(np.float32(0)), graph.constant(np.float32(255))
    return graph.add("Clip", graph.add("Round", x), low, high)


def _crop(graph: GraphEditor, x: str, made: Size, target: Size) -> str:
    starts = [round((made[axis] - target[axis]) / 2) for axis in (0, 1)]
    ends = [start + target[axis] for axis, start in enumerate(starts)]
    numbers = [np.array(one, np.int64) for one in (starts, ends, [2, 3])]
    return graph.add("Slice", x, *(graph.constant(one) for one in numbers))


def _normalise(graph: GraphEditor, x: str, steps: Preprocessing, channels: int) -> str:
    """(x / scale - mean) / std as one factor and one offset."""
    if len(steps.mean) > channels or len(steps.std) > channels:
        raise ImportFault(f"mean and std have 3 numbers, the model has {channels} channel")
    mean = np.broadcast_to(np.array(steps.mean, np.float64), (channels,))
    std = np.broadcast_to(np.array(steps.std, np.float64), (channels,))
    factor, offset = 1 / (steps.scale * std), -mean / std
    if np.any(factor != 1):
        x = graph.add("Mul", x, graph.constant(factor.astype(np.float32).reshape(1, -1, 1, 1)))
    if np.any(offset != 0):
        x = graph.add("Add", x, graph.constant(offset.astype(np.float32).reshape(1, -1, 1, 1)))
    return x


def _shape_output(graph: GraphEditor, x: str, taken: PictureInput, inner: str) -> None:
    if taken.layout == "NHWC":
        x = graph.add("Transpose", x, perm=[0, 2, 3, 1])
    elif taken.layout == "NHW":
        x = graph.add("Squeeze", x, graph.constant(np.array([1], np.int64)))
    graph.add("Cast", x, output=inner, to=_FLOATS.get(taken.tensor.datatype, TensorProto.UINT8))
