"""The shipped classifiers: whole, small, and as good as their provenance says."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.devices.interface import Precision
from core.devices.onnx import OnnxDevice
from core.messages import Batch
from harness.live_server import ROOT
from routes.loading import LoadedRoute, find_routes, load_route
from routes.offline import run_offline

MODELS = ROOT / "models"
ROUTES = [path for path in find_routes(MODELS) if path.parent.name != "vlm-small"]
README_PICTURES = {
    "ankle-boot": (9, "cnn-0.7m"),
    "shirt": (6, "cnn-8m"),
    "coat": (4, "cnn-36m"),
}


@dataclass(frozen=True, slots=True)
class Least:
    """What a data set's routes must reach on its test set, or have reached where nothing is set."""

    cascade: float
    large: float
    lost: float


REACHED = {
    "fashion-mnist": Least(cascade=0.930, large=0.933, lost=0.003),
    "cifar10": Least(cascade=0.915, large=0.914, lost=0.005),  # the large net has no target
}
BESIDE = {  # route -> its data, what it must reach or has reached
    "fashion-mnist-exits": ("fashion-mnist", 0.93),
    "fashion-mnist-cbnet": ("fashion-mnist", 0.915),
    "mnist-cbnet": ("mnist", 0.993),
    "fashion-mnist-vit": ("fashion-mnist", 0.912),
    "fashion-mnist-acm": ("fashion-mnist", 0.918),
}


PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
MAX_INT8_LOSS = 0.0015  # of a route
MAX_NET_INT8_LOSS = 0.001


def load(name: str, precision: Precision = "float32") -> LoadedRoute:
    (directory,) = (path for path in ROUTES if path.parent.name == name)
    return load_route(directory, OnnxDevice(precision=precision))


def make_pictures(route: LoadedRoute, count: int) -> npt.NDArray[np.uint8]:
    """Seeded noise of the size that the route takes."""
    (image,) = route.manifest.inputs
    shape = (count, *image.shape[1:])
    return np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)


def label(route: LoadedRoute, pictures: npt.NDArray[np.uint8]) -> list[tuple[int, str]]:
    """Labels and exits, in batches through the stages."""
    found: list[tuple[int, str]] = []
    for row in run_offline(route.pipeline, {"image": pictures}, OnnxDevice()):
        assert row.outcome is not None
        found.append((int(row.outcome.outputs["label"]), row.outcome.exit))
    return found


def test_a_cascade_and_its_large_model_are_there_for_each_data_set_and_others_beside() -> None:
    expected = {name for data in REACHED for name in (data, f"{data}-large")}
    assert {path.parent.name for path in ROUTES} == expected | set(BESIDE)


@pytest.mark.parametrize("directory", ROUTES, ids=lambda path: path.parent.name)
def test_a_route_says_where_it_comes_from_and_is_small(directory: Path) -> None:
    provenance = tomllib.loads((directory / "route.toml").read_text())["provenance"]
    named = {"data_identity", "recipe", "commit", "seed", "thresholds_from", "test_accuracy"}
    assert named <= set(provenance)
    sizes = [path.stat().st_size for path in directory.iterdir()]
    assert max(sizes) < 10e6
    assert sum(sizes) < 40e6


@pytest.mark.parametrize("directory", ROUTES, ids=lambda path: path.parent.name)
def test_int8_files_are_smaller_and_have_their_accuracy_beside_floats(directory: Path) -> None:
    table = tomllib.loads((directory / "route.toml").read_text())
    twins = [(one["file"], one["int8_file"]) for one in table["stages"] if "int8_file" in one]
    for float_file, int8_file in twins:
        assert table["files"][int8_file]["size_bytes"] < table["files"][float_file]["size_bytes"]
    if twins:
        floats, int8 = (table["provenance"][f"{one}_test_accuracy"] for one in PRECISIONS)
        assert int8 >= floats - MAX_INT8_LOSS


def test_every_net_of_the_cascades_and_large_models_has_an_int8_file() -> None:
    for data in REACHED:
        for name in (data, f"{data}-large"):
            assert all(one.int8_file for one in load(name).manifest.stages)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("directory", ROUTES, ids=lambda path: path.parent.name)
def test_a_rows_answer_does_not_depend_on_its_companions_bit_for_bit(
    directory: Path, precision: Precision
) -> None:
    route = load_route(directory, OnnxDevice(precision=precision))
    stage = route.pipeline.stages[route.pipeline.first]
    pictures = make_pictures(route, 64)
    whole = stage.run(Batch({"image": pictures}, {}, [None] * 64))
    for size in (1, 3, 16):
        for start in range(0, 64, size):
            rows = pictures[start : start + size]
            part = stage.run(Batch({"image": rows}, {}, [None] * len(rows)))
            for one, other in zip(part, whole[start : start + size], strict=True):
                assert one.answer is not None
                assert other.answer is not None
                np.testing.assert_array_equal(
                    one.answer.outputs["probabilities"], other.answer.outputs["probabilities"]
                )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", README_PICTURES)
def test_the_readmes_pictures_get_the_readmes_answers(name: str, precision: Precision) -> None:
    picture = np.asarray(Image.open(ROOT / "docs" / "pictures" / f"{name}.png"))
    assert label(load("fashion-mnist", precision), picture[None]) == [README_PICTURES[name]]


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("data", REACHED)
def test_the_full_test_set_gives_the_accuracy_of_the_provenance(
    data: str, precision: Precision
) -> None:
    from training.data.sets import load_data

    test = load_data(data).test
    reached = []
    for name in (data, f"{data}-large"):
        route = load(name, precision)
        found = [one for one, _ in label(route, test.pictures)]
        reached.append(float((np.array(found) == test.labels).mean()))
        provenance = route.manifest.provenance
        said = provenance.get(f"{precision}_test_accuracy", provenance["test_accuracy"])
        assert reached[-1] == pytest.approx(said, abs=2e-4 if precision == "float32" else 1e-3)
    least = REACHED[data]
    cascade, large = reached
    assert cascade >= least.cascade
    assert large >= least.large - (MAX_NET_INT8_LOSS if precision == "int8" else 0)
    assert large - cascade <= least.lost


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
@pytest.mark.parametrize("name", BESIDE)
def test_a_route_beside_them_is_as_accurate_as_its_provenance_says(name: str) -> None:
    from training.data.sets import load_data

    data, least = BESIDE[name]
    test, route = load_data(data).test, load(name)
    found = [one for one, _ in label(route, test.pictures)]
    reached = float((np.array(found) == test.labels).mean())
    assert reached == pytest.approx(route.manifest.provenance["test_accuracy"], abs=2e-4)
    assert reached >= least
