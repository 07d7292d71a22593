"""Fingerprints: the same thing has one key, different things have different keys."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache.fingerprint import KEY_BYTES, Fingerprinter
from core.messages import Key

SECRET = b"0123456789abcdef"
Inputs = dict[str, npt.NDArray[Any]]


def _make_keys(
    inputs: Inputs,
    *,
    tenant: str = "",
    route: str = "r",
    digest: bytes = b"d",
    controls: dict[str, Any] | None = None,
    secret: bytes = SECRET,
) -> list[Key]:
    fingerprinter = Fingerprinter(secret)
    prefix = fingerprinter.prefix(tenant, route, digest, controls or {})
    return fingerprinter.row_keys(prefix, inputs)


dtypes = st.sampled_from([np.uint8, np.int8, np.uint16, np.int64, np.float32, np.bool_])
rows = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
row_arrays = st.tuples(dtypes, rows).flatmap(lambda pair: hnp.arrays(pair[0], (1, *pair[1])))
cases = st.tuples(
    st.text(max_size=3),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.dictionaries(st.text(max_size=2), st.floats(allow_nan=False), max_size=2),
    st.dictionaries(st.text(max_size=2), row_arrays, min_size=1, max_size=2),
)
Case = tuple[str, str, bytes, dict[str, float], Inputs]


def _spell(case: Case) -> str:
    """The slow obvious identity: everything written out."""
    tenant, route, digest, controls, inputs = case
    written = [
        (name, array.dtype.str, array.shape, array.tobytes())
        for name, array in sorted(inputs.items())
    ]
    return repr((tenant, route, digest, sorted(controls.items()), written))


@given(one=cases, other=cases)
def test_keys_are_equal_exactly_when_everything_is_equal(one: Case, other: Case) -> None:
    def fingerprint(case: Case) -> list[Key]:
        tenant, route, digest, controls, inputs = case
        return _make_keys(inputs, tenant=tenant, route=route, digest=digest, controls=controls)

    assert (fingerprint(one) == fingerprint(other)) == (_spell(one) == _spell(other))
    assert fingerprint(one) == fingerprint(one)


@given(text=st.text(min_size=2, max_size=6), cuts=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_moving_letters_between_neighbouring_parts_changes_the_key(
    text: str, cuts: tuple[int, int]
) -> None:
    inputs: Inputs = {"image": np.zeros((1, 2), dtype=np.uint8)}
    parts = [(text[:cut], text[cut:]) for cut in cuts]
    one, other = (_make_keys(inputs, tenant=a, route=b) for a, b in parts)
    assert (one == other) == (parts[0] == parts[1])


@pytest.mark.parametrize(
    "other",
    [
        {"image": np.zeros((1, 4), dtype=np.uint8), "mask": np.zeros((1, 2), dtype=np.uint8)},
        {"image": np.zeros((1, 2, 3), dtype=np.uint8)},
        {"image": np.zeros((1, 6), dtype=np.int8)},
        {"image": np.zeros((1, 3), dtype=np.uint16)},
        {"images": np.zeros((1, 6), dtype=np.uint8)},
        {"image": np.zeros((1, 5), dtype=np.uint8)},
        {"image": np.ones((1, 6), dtype=np.uint8)},
        {"image": np.array([[b"\0" * 6]], dtype=object)},
    ],
    ids=["split in two", "shape", "dtype", "wider dtype", "name", "length", "content", "bytes"],
)
def test_the_same_bytes_under_another_description_have_another_key(other: Inputs) -> None:
    assert _make_keys({"image": np.zeros((1, 6), dtype=np.uint8)}) != _make_keys(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [([b"ab", b"c"], [b"a", b"bc"]), ([b"a", b""], [b"", b"a"]), ([b"a", b"b"], ["a", "b"])],
)
def test_byte_strings_are_kept_apart(one: list[object], other: list[object]) -> None:
    first, second = (np.array([items], dtype=object) for items in (one, other))
    assert _make_keys({"text": first}) != _make_keys({"text": second})


def test_an_object_that_is_neither_bytes_nor_text_is_refused() -> None:
    with pytest.raises(TypeError, match="int"):
        _make_keys({"text": np.array([[1]], dtype=object)})


def test_another_secret_gives_other_keys() -> None:
    inputs: Inputs = {"image": np.zeros((1, 6), dtype=np.uint8)}
    assert _make_keys(inputs) != _make_keys(inputs, secret=b"f" * 16)


def test_the_order_of_inputs_and_controls_does_not_matter() -> None:
    a, b = np.zeros((2, 3), dtype=np.uint8), np.ones((2, 3), dtype=np.uint8)
    one = _make_keys({"a": a, "b": b}, controls={"x": 1.0, "y": 2.0})
    other = _make_keys({"b": b, "a": a}, controls={"y": 2.0, "x": 1.0})
    assert one == other
    assert _make_keys({"a": b, "b": a}) != _make_keys({"a": a, "b": b})


@pytest.mark.parametrize("controls", [{"x": 1.0}, {"x": 0.0}, {"y": 1.0}, {"x": 1.0, "y": 1.0}])
def test_every_control_counts(controls: dict[str, float]) -> None:
    inputs: Inputs = {"image": np.zeros((1, 6), dtype=np.uint8)}
    assert _make_keys(inputs) != _make_keys(inputs, controls=controls)


def test_controls_of_different_types_have_different_keys() -> None:
    inputs: Inputs = {"image": np.zeros((1, 6), dtype=np.uint8)}
    values: list[Any] = [
        1, 1.0, True, "1", "b1", (1,), (1.0,), ("1",), (), ("",), ("", ""), ("a", "b"), ("ab",),
        ("a,b",), 0, 0.0, False, "", 2**70,
    ]  # fmt: skip
    keys = [_make_keys(inputs, controls={"x": value})[0] for value in values]
    assert len(set(keys)) == len(values)
    with pytest.raises(TypeError, match="NoneType"):
        _make_keys(inputs, controls={"x": None})


def test_a_rows_key_is_the_same_alone_in_a_batch_and_with_other_strides() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    keys = _make_keys({"image": images})
    assert len(set(keys)) == 5
    assert all(len(key) == KEY_BYTES for key in keys)
    assert keys == [_make_keys({"image": images[row : row + 1]})[0] for row in range(5)]
    assert keys == _make_keys({"image": np.asfortranarray(images)})
    assert keys == _make_keys({"image": images[::-1]})[::-1]
    assert keys == _make_keys({"image": np.repeat(images, 2, axis=2)[:, :, ::2]})


def test_no_rows_have_no_keys() -> None:
    assert _make_keys({"image": np.zeros((0, 28), dtype=np.uint8)}) == []


@pytest.mark.parametrize("size_bytes", [0, 15, 65])
def test_a_secret_of_a_wrong_length_is_refused(size_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"secret: {size_bytes} bytes"):
        Fingerprinter(b"x" * size_bytes)
