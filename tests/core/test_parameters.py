"""Declared parameters: which declarations and values are accepted, and the columns they become."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.manifest import read_manifest
from core.parameters import ParameterSpec, find_defaults, make_column
from harness.tiny_routes import write_route
from routes.loading import load_route


def declare(**table: Any) -> ParameterSpec:
    return ParameterSpec.model_validate(table)


@pytest.mark.parametrize(
    ("table", "given", "parsed"),
    [
        ({"type": "integer", "default": 1}, 7, 7),
        ({"type": "integer", "default": 1}, "-7", -7),
        ({"type": "number", "default": 1}, 2, 2.0),
        ({"type": "number", "default": 1}, "2.5e1", 25.0),
        ({"type": "number", "default": 1}, -0.0, 0.0),
        ({"type": "boolean", "default": False}, True, True),
        ({"type": "boolean", "default": False}, "true", True),
        ({"type": "string", "default": ""}, "3", "3"),
        ({"type": "string", "default": "a", "allowed": ["a", "b"]}, "b", "b"),
        ({"type": "integers", "default": []}, [1, 2], (1, 2)),
        ({"type": "integers", "default": []}, "[1, 2]", (1, 2)),
        ({"type": "numbers", "default": []}, [1, 0.5], (1.0, 0.5)),
        ({"type": "strings", "default": []}, '["x", "y"]', ("x", "y")),
        ({"type": "strings", "default": ["z"]}, [], ()),
    ],
)
def test_a_value_gets_its_declared_type(table: Any, given: object, parsed: object) -> None:
    found = declare(**table).parse(given)
    assert (type(found), repr(found)) == (type(parsed), repr(parsed))


@pytest.mark.parametrize(
    ("table", "given", "allowed"),
    [
        ({"type": "integer", "default": 1, "min": 1, "max": 9}, 0, "an integer from 1 to 9"),
        ({"type": "integer", "default": 1, "min": 1}, 0, "an integer of at least 1"),
        ({"type": "integer", "default": 1, "max": 9}, "10", "an integer of at most 9"),
        ({"type": "integer", "default": 1}, 1.0, "an integer"),
        ({"type": "integer", "default": 1}, True, "an integer"),
        ({"type": "integer", "default": 1}, 2**63, "an integer"),
        ({"type": "integer", "default": 1}, "1_0", "an integer"),
        ({"type": "integer", "default": 1}, [1], "an integer"),
        ({"type": "integer", "default": 1, "allowed": [1, 2]}, 3, "one of 1, 2"),
        ({"type": "number", "default": 0, "max": 1.5}, 2, "a number of at most 1.5"),
        ({"type": "number", "default": 0}, float("nan"), "a number"),
        ({"type": "number", "default": 0}, 10**400, "a number"),
        ({"type": "number", "default": 0}, "1e999", "a number"),
        ({"type": "number", "default": 0}, True, "a number"),
        ({"type": "boolean", "default": True}, 2, "true or false"),
        ({"type": "boolean", "default": True}, "yes", "true or false"),
        ({"type": "string", "default": "", "max_length": 3}, "four", "a string of at most 3"),
        ({"type": "string", "default": ""}, 3, "a string of at most 256 characters"),
        ({"type": "string", "default": "a", "allowed": ["a"]}, "b", "one of 'a'"),
        ({"type": "strings", "default": [], "max_items": 1}, ["a", "b"], "at most 1 strings"),
        ({"type": "strings", "default": []}, ["a", 1], "a list of at most 16 strings"),
        ({"type": "strings", "default": []}, "a", "a list of at most 16 strings"),
        ({"type": "strings", "default": []}, "[" * 60_000, "a list of at most 16 strings"),
        ({"type": "integers", "default": [], "max": 4}, [5], "integers of at most 4"),
        ({"type": "strings", "default": [], "allowed": ["a"]}, ["b"], "at most 16 of 'a'"),
    ],
)
def test_other_values_are_refused(table: Any, given: object, allowed: str) -> None:
    spec = declare(**table)
    with pytest.raises(ValueError):  # noqa: PT011  # the endpoints write the sentence
        spec.parse(given)
    assert allowed in spec.describe()


@pytest.mark.parametrize(
    "table",
    [
        {"type": "float", "default": 1},
        {"type": "integer"},
        {"type": "integer", "default": "1a"},
        {"type": "integer", "default": 5, "max": 4},
        {"type": "integer", "default": 5, "max_length": 4},
        {"type": "string", "default": "", "min": 1},
        {"type": "string", "default": "", "max_items": 1},
        {"type": "string", "default": "c", "allowed": ["a", "b"]},
        {"type": "string", "default": "a", "allowed": ["a", 1]},
        {"type": "boolean", "default": True, "allowed": [True]},
        {"type": "integers", "default": [1, 2], "max_items": 1},
        {"type": "string", "default": "", "max_length": 10**6},
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(table: Any) -> None:
    with pytest.raises(ValidationError):
        declare(**table)


def test_columns_have_one_value_for_each_row() -> None:
    integers, numbers = make_column([1, 2], [2, 1]), make_column([0.5, float("nan")], [1, 1])
    assert (integers.dtype.name, integers.tolist()) == ("int64", [1, 1, 2])
    assert (numbers.dtype.name, numbers[0]) == ("float64", 0.5)
    assert make_column([True], [2]).dtype == np.bool_
    assert make_column(["a", "bc"], [1, 2]).tolist() == ["a", "bc", "bc"]
    lists = make_column([(1, 2), (3, 4)], [1, 1])
    assert (lists.dtype.name, lists[0], lists[1]) == ("object", (1, 2), (3, 4))


PARAMETERS: dict[str, Any] = {
    "style": {"type": "string", "default": "plain", "allowed": ["plain", "bold"]},
    "top": {"type": "integer", "default": 3, "min": 1, "max": 9},
    "stop": {"type": "strings", "default": [], "max_items": 4, "description": "Where to end."},
}


def test_a_route_with_parameters_is_read_and_loaded(tmp_path: Path) -> None:
    directory = write_route(tmp_path, change=lambda table: table.update(parameters=PARAMETERS))
    manifest = load_route(directory, OnnxDevice()).manifest
    assert find_defaults(manifest.parameters) == {"style": "plain", "top": 3, "stop": ()}
    assert manifest.parameters["stop"].schema_of() == {
        "type": "array",
        "items": {"type": "string", "maxLength": 256},
        "maxItems": 4,
        "default": (),
        "description": "Where to end.",
    }


@pytest.mark.parametrize("name", ["timeout_ms", "version", "triton_x", "Top", "a-b", ""])
def test_a_reserved_or_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    declared = {name: {"type": "integer", "default": 1}}
    directory = write_route(tmp_path, change=lambda table: table.update(parameters=declared))
    with pytest.raises(ModelDirectoryError, match=re.escape(str(directory))):
        read_manifest(directory)
