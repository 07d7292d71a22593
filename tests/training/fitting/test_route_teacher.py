"""A route's net teaches its own data set, and no other route does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from harness.tiny_routes import make_pictures, write_route
from training.data.sets import DataSet
from training.fitting.route_teacher import RouteTeacher


def with_labels_of(data: DataSet) -> DataSet:
    labels = tuple(f"class {index}" for index in range(4))
    return replace(data, source=replace(data.source, labels=labels))


def test_it_answers_as_its_net_does(tmp_path: Path, tiny_data: DataSet) -> None:
    route = write_route(tmp_path, pipeline="single", stages=1, classes=4)
    teacher = RouteTeacher(route, with_labels_of(tiny_data))
    pictures = make_pictures(70)
    expected = OnnxDevice().open(route / "stage0.onnx").run(["logits"], {"image": pictures})[0]
    np.testing.assert_array_equal(teacher.answer(pictures), expected)
    assert teacher.name.startswith("tiny:")


def test_a_route_of_several_nets_is_refused(tmp_path: Path, tiny_data: DataSet) -> None:
    route = write_route(tmp_path, classes=4)
    with pytest.raises(ValueError, match="pipeline 'dual-cnn'; a teacher is a single net"):
        RouteTeacher(route, with_labels_of(tiny_data))


def test_a_route_of_other_labels_is_refused(tmp_path: Path, tiny_data: DataSet) -> None:
    route = write_route(tmp_path, pipeline="single", stages=1, classes=4)
    with pytest.raises(ValueError, match="its labels are not those of squares"):
        RouteTeacher(route, tiny_data)


def test_a_directory_without_a_route_is_refused(tmp_path: Path, tiny_data: DataSet) -> None:
    with pytest.raises(ValueError, match="cannot read route"):
        RouteTeacher(tmp_path, tiny_data)
