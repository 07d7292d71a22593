"""Datatypes, declared shapes and parameters: what is let in, and the sentence for what is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datatypes import DATATYPES
from core.errors import BodyTooLarge, InvalidInput
from core.manifest import TensorSpec
from serving.oip.tensors import (
    NO_PARAMETERS,
    Parameters,
    check_declared,
    check_inputs,
    input_spec,
    object_array,
    pack_bytes,
    read_parameters,
    read_texts,
    tensor_from_raw,
    unpack_bytes,
)
from tests.serving.small_engine import make_manifest

IMAGE = TensorSpec(name="image", datatype="UINT8", shape=(-1, 2, 3))


@pytest.mark.parametrize(
    "shape",
    [
        [2, 3],
        [1, 3, 2],
        [1, 2, 3, 1],
        [-1, 2, 3],
        [-4, -2, 3],
        [0, 2, 3],
        [1.0, 2, 3],
        [True, 2, 3],
        ["1", 2, 3],
        [[1], 2, 3],
        [None, 2, 3],
        [1] * 100_000,
    ],
)
def test_a_wrong_shape_is_refused_with_its_field(shape: list[object]) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.image\.shape: given .*, allowed") as caught:
        check_declared(IMAGE, "UINT8", shape)
    assert len(str(caught.value)) < 200


def test_an_overflowing_shape_is_compared_with_the_bytes_not_multiplied_into_memory() -> None:
    with pytest.raises(InvalidInput, match="given 6 bytes"):
        tensor_from_raw(IMAGE, "UINT8", [2**62, 2, 3], bytes(6), 0, 6)


@pytest.mark.parametrize("datatype", ["UINT9", "FP32", None, 3, ["UINT8"]])
def test_another_datatype_is_refused(datatype: object) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.image\.datatype: given .*, allowed UINT8"):
        check_declared(IMAGE, datatype, [1, 2, 3])


def test_raw_bytes_become_a_view_without_a_copy() -> None:
    raw = bytes(range(20))
    array = tensor_from_raw(IMAGE, "UINT8", [2, 2, 3], raw, 4, 12)
    assert array.tolist() == np.arange(4, 16).reshape(2, 2, 3).tolist()
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))


def test_numbers_at_an_odd_place_are_aligned_for_the_runtime() -> None:
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1,))
    raw = b"_" + np.array([1.5, -2.0], np.float32).tobytes()
    array = tensor_from_raw(spec, "FP32", [2], raw, 1, 8)
    assert array.flags.aligned
    assert array.tolist() == [1.5, -2.0]


def test_a_bool_that_is_neither_0_nor_1_is_refused() -> None:
    spec = TensorSpec(name="x", datatype="BOOL", shape=(-1,))
    assert tensor_from_raw(spec, "BOOL", [2], b"\1\0", 0, 2).tolist() == [True, False]
    with pytest.raises(InvalidInput, match="given byte 7"):
        tensor_from_raw(spec, "BOOL", [2], b"\1\7", 0, 2)


def test_a_dimension_of_any_size_may_be_empty() -> None:
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, -1))
    assert tensor_from_raw(spec, "FP32", [2, 0], b"", 0, 0).shape == (2, 0)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9))
def test_bytes_elements_survive_packing(items: list[bytes]) -> None:
    raw = pack_bytes(object_array(items))
    assert unpack_bytes("x", raw, len(items)) == items


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0\0", b"\5\0\0\0abc", b"\1\0\0\0ab", b"\xff\xff\xff\xffa", b"\0" * 8]
)
def test_lying_lengths_of_bytes_elements_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.x"):
        unpack_bytes("x", raw, 1)


def test_ready_arrays_are_compared_with_the_manifest() -> None:
    manifest = make_manifest()
    good = np.zeros((4, 2, 3), np.uint8)
    check_inputs(manifest, {"image": good})
    with pytest.raises(InvalidInput, match="datatype"):
        check_inputs(manifest, {"image": good.astype(np.float32)})
    with pytest.raises(InvalidInput, match="missing"):
        check_inputs(manifest, {})
    with pytest.raises(InvalidInput, match=r"given 'other', route small takes \['image'\]"):
        check_inputs(manifest, {"image": good, "other": good})
    with pytest.raises(InvalidInput, match="given 0 rows"):
        check_inputs(manifest, {"image": good[:0]})


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    specs = [{"name": name, "datatype": "UINT8", "shape": [-1]} for name in ("a", "b")]
    manifest = make_manifest(inputs=specs)
    assert input_spec(manifest, "b").name == "b"
    with pytest.raises(InvalidInput, match=r"given numbers of rows \{'a': 1, 'b': 2\}"):
        check_inputs(manifest, {"a": np.zeros(1, np.uint8), "b": np.zeros(2, np.uint8)})


def test_every_datatype_has_its_dtype_and_its_size() -> None:
    assert {name: dtype.itemsize for name, dtype in DATATYPES.items() if name != "BYTES"} == {
        "BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "UINT32": 4, "INT32": 4,
        "UINT64": 8, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
    }  # fmt: skip


def test_numbers_come_as_numbers_or_decimal_strings() -> None:
    read = read_parameters(
        {"timeout_ms": "250", "energy_mj": 3, "min_confidence": " 0.5".strip(), "no_cache": "true"}
    )
    assert (read.timeout_s, read.energy_mj, read.no_cache) == (0.25, 3.0, True)
    assert dict(read.controls) == {"min_confidence": 0.5}


def test_tritons_timeout_is_microseconds_and_0_is_none() -> None:
    assert read_parameters({"timeout": 1_500_000}).timeout_s == 1.5
    assert read_parameters({"timeout": 0}).timeout_s is None
    assert read_parameters({"timeout": 2_000_000, "timeout_ms": 500}).timeout_s == 0.5


def test_unknown_and_reserved_parameters_are_tolerated() -> None:
    given = {"sequence_id": 3, "priority": {"a": []}, "triton_enable_empty_final_response": True}
    assert read_parameters(given) is NO_PARAMETERS


@pytest.mark.parametrize("name", ["timeout_ms", "timeout", "energy_mj", "min_confidence"])
@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), -1, -0.001, 10**400, 1e300, "1e999", "nan", "inf", "-1", "",
        "0x10", "1_0", "٣", " 1", "9" * 1000, True, [1], {"a": 1},
    ],
)  # fmt: skip
def test_hostile_numbers_are_refused_with_a_sentence(name: str, value: object) -> None:
    with pytest.raises(
        InvalidInput, match=rf"parameters\.{name}: given .* allowed a number from 0"
    ):
        read_parameters({name: value})


@pytest.mark.parametrize("value", [2, "yes", [], {}, 0.5])
def test_hostile_flags_are_refused_with_a_sentence(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"parameters\.no_cache: given"):
        read_parameters({"no_cache": value})


@pytest.mark.parametrize(
    "name", ["timeout_ms", "timeout", "energy_mj", "min_confidence", "no_cache"]
)
def test_a_parameter_that_is_null_is_as_if_not_given(name: str) -> None:
    assert read_parameters({name: None, "color": "red"}) == Parameters()


def test_bytes_elements_are_text_and_what_is_no_text_is_named() -> None:
    assert read_texts("x", [b"yes", b"y\0", "ä".encode(), b""]).tolist() == ["yes", "y\0", "ä", ""]
    with pytest.raises(InvalidInput, match=r"inputs\.x: element 1 is not UTF-8 at byte"):
        read_texts("x", [b"yes", b"b\xff"])
    with pytest.raises(BodyTooLarge, match=r"inputs\.x: given 16385 BYTES elements"):
        read_texts("x", [b""] * 16_385)
    with pytest.raises(BodyTooLarge, match=r"inputs\.x: given 20000 BYTES elements"):
        unpack_bytes("x", bytes(80_000), 20_000)


def test_min_confidence_is_at_most_1() -> None:
    assert read_parameters({"min_confidence": 1}).controls["min_confidence"] == 1.0
    with pytest.raises(InvalidInput):
        read_parameters({"min_confidence": 1.0001})
