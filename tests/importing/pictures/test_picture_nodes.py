"""Preprocessing as nodes gives what Pillow and numpy give."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Tensor, open_graph
from importing.pictures.picture_nodes import Canvas, PictureInput, put_pictures_in_front
from importing.pictures.preprocessing import Preprocessing
from tests.fakes.own_models import make_model

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _identity(shape: list[int | str], name: str = "input", opset: int = 17) -> onnx.ModelProto:
    return make_model(
        [helper.make_node("Identity", [name], ["out"])],
        [(name, TensorProto.FLOAT, shape)],
        [("out", TensorProto.FLOAT, shape)],
        {},
        opset,
    )


def _picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth picture with some noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(large).astype(float) + rng.normal(0, 8, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _run(
    picture: npt.NDArray[np.uint8], taken: PictureInput, steps: Preprocessing, opset: int = 17
) -> npt.NDArray[Any]:
    channels = 1 if picture.ndim == 2 else 3
    canvas = Canvas(picture.shape[0], picture.shape[1], channels)
    free = ["N" if size < 0 else size for size in taken.tensor.shape]
    model = _identity(list(free), taken.tensor.name, opset)
    made = put_pictures_in_front(model, taken, canvas, steps)
    onnx.checker.check_model(made)
    return np.asarray(open_graph(made).run({"image": picture[None]})[0][0])


def _nchw(height: int, width: int, channels: int = 3, name: str = "input") -> PictureInput:
    tensor = Tensor(name, "FP32", (-1, channels, height, width))
    return PictureInput(tensor, "NCHW", channels, height, width)


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 12), (48, 48)])
def test_a_resize_is_that_of_pillow(kind: str, height: int, width: int) -> None:
    picture = _picture(37, 41)
    steps = Preprocessing(resize=(height, width), filter=kind, scale=1.0)  # type: ignore[arg-type]
    found = _run(picture, _nchw(height, width), steps).transpose(1, 2, 0)
    expected = np.asarray(Image.fromarray(picture).resize((width, height), FILTERS[kind]))
    difference = np.abs(found - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3


def test_the_shorter_side_is_resized_and_the_centre_cropped() -> None:
    picture = _picture(40, 60)
    steps = Preprocessing(resize=20, crop=(16, 16), scale=1.0)
    found = _run(picture, _nchw(16, 16), steps).transpose(1, 2, 0)
    resized = np.asarray(Image.fromarray(picture).resize((30, 20), Image.Resampling.BILINEAR))
    assert np.abs(found - resized[2:18, 7:23]).max() <= 2


def test_normalisation_is_scale_then_mean_then_std_in_the_models_order_of_colors() -> None:
    picture = _picture(16, 16)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    steps = Preprocessing(mean=mean, std=std, color="BGR")
    found = _run(picture, _nchw(16, 16), steps)
    expected = (picture[..., ::-1] / 255 - mean) / std
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=1e-4, atol=1e-4)


def test_a_layout_with_channels_last_gets_it() -> None:
    picture = _picture(16, 12)
    taken = PictureInput(Tensor("input", "FP32", (-1, 16, 12, 3)), "NHWC", 3, 16, 12)
    np.testing.assert_allclose(_run(picture, taken, Preprocessing(scale=1.0)), picture)


def test_a_grey_model_gets_grey_of_a_color_picture_as_pillow_makes_it() -> None:
    picture = _picture(16, 16)
    found = _run(picture, _nchw(16, 16, 1), Preprocessing(scale=1.0))[0]
    assert np.abs(found - np.asarray(Image.fromarray(picture).convert("L"))).max() <= 1


def test_a_color_model_gets_three_times_a_grey_picture() -> None:
    picture = _picture(16, 16)[..., 0]
    found = _run(picture, _nchw(16, 16), Preprocessing(scale=1.0))
    np.testing.assert_allclose(found, np.stack([picture] * 3))


@pytest.mark.parametrize("name", ["image", "input", "sparing_cast", "x:0"])
def test_the_models_input_may_have_any_name(name: str) -> None:
    picture = _picture(16, 16)
    found = _run(picture, _nchw(16, 16, name=name), Preprocessing(scale=1.0))
    np.testing.assert_allclose(found, picture.transpose(2, 0, 1))


def test_an_old_opset_is_raised_where_a_resize_needs_it() -> None:
    picture = _picture(30, 30)
    found = _run(picture, _nchw(16, 16), Preprocessing(scale=1.0), opset=11)
    assert found.shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (Preprocessing(resize=(20, 20)), r"makes 20×20 pixels, input input takes 16×16"),
        (Preprocessing(crop=(8, 8)), "makes 8×8 pixels"),
        (Preprocessing(resize=(12, 12), crop=(16, 16)), "smaller than its crop"),
        (Preprocessing(crop=(16, 16), mean=(0.5, 0.5, 0.5)), "3 numbers, the model has 1 channel"),
    ],
)
def test_steps_that_do_not_fit_are_refused(steps: Preprocessing, words: str) -> None:
    channels = 1 if "channel" in words else 3
    with pytest.raises(ImportFault, match=words):
        _run(_picture(30, 30), _nchw(16, 16, channels), steps)
