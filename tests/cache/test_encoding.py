"""An answer's encoding: exact both ways, and nothing else gets through."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.encoding import AUTH_TAG_BYTES, DTYPES, MAX_VALUE_BYTES, Encoding, UnencodableAnswer
from core.messages import Outcome

SECRET = b"s" * 32
KEY = b"k" * 16

outputs = st.dictionaries(
    st.text(max_size=20),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(
            dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        )
    ),
    max_size=4,
)
outcomes = st.builds(Outcome, outputs, st.floats(0.0, 1.0), st.text(max_size=30))


def encode(**changes: Any) -> bytes:  # Any: Outcome's own fields
    fields = {"outputs": {"label": np.int64(3)}, "confidence": 0.5, "exit": "light", **changes}
    return Encoding(SECRET).encode(KEY, Outcome(**fields), 100.0)


def decode(value: bytes, key: bytes = KEY) -> Outcome | None:
    found = Encoding(SECRET).decode(key, value, now=0.0)
    return None if found is None else found.outcome


@given(outcomes)
def test_what_is_encoded_comes_back_bit_for_bit(outcome: Outcome) -> None:
    found = Encoding(SECRET).decode(KEY, Encoding(SECRET).encode(KEY, outcome, 107.5), now=100.0)
    assert found is not None
    assert found.left_s == 7.5
    assert (found.outcome.confidence, found.outcome.exit) == (outcome.confidence, outcome.exit)
    assert list(found.outcome.outputs) == list(outcome.outputs)
    for name, array in outcome.outputs.items():
        back = found.outcome.outputs[name]
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tobytes() == array.tobytes()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_miss_and_never_an_error(value: bytes) -> None:
    assert decode(value) is None


@given(st.binary(max_size=300))
def test_any_bytes_behind_a_true_seal_never_raise(body: bytes) -> None:
    decode(Encoding(SECRET).authenticate(KEY, body))


@given(st.data())
def test_a_true_value_with_bytes_changed_behind_a_true_seal_never_raises(data: Any) -> None:
    body = bytearray(encode(outputs={"p": np.zeros((2, 3), np.float32)})[AUTH_TAG_BYTES:])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    decode(Encoding(SECRET).authenticate(KEY, bytes(body)))


def test_every_bit_is_sealed() -> None:
    value = encode()
    for bit in range(8 * len(value)):
        spoiled = bytearray(value)
        spoiled[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(spoiled)) is None


def test_every_cut_and_every_addition_is_a_miss() -> None:
    value = encode()
    assert all(decode(value[:size]) is None for size in range(len(value)))
    assert decode(value + b"\0") is None


def test_a_value_moved_under_another_key_is_a_miss() -> None:
    assert decode(encode()) is not None
    assert decode(encode(), key=b"l" * 16) is None


def test_a_value_sealed_with_another_secret_is_a_miss() -> None:
    assert Encoding(b"t" * 32).decode(KEY, encode(), now=0.0) is None


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_confidence_outside_0_to_1_is_a_miss(confidence: float) -> None:
    assert decode(encode(confidence=confidence)) is None


@pytest.mark.parametrize(
    "outputs",
    [
        {"text": np.array([b"a", b"b"], dtype=object)},
        {"text": np.array(["a"])},
        {"label": np.zeros(2, ">i4")},
        {"date": np.zeros(2, "datetime64[s]")},
        {"mask": np.zeros(MAX_VALUE_BYTES, np.uint8)},
        {"deep": np.zeros((1,) * 9)},
        {"n" * 256: np.zeros(1)},
        {str(index): np.zeros(1) for index in range(65)},
    ],
    ids=["objects", "text", "big-endian", "dates", "large", "deep", "long-name", "many"],
)
def test_what_has_no_encoding_is_refused(outputs: dict[str, npt.NDArray[Any]]) -> None:
    with pytest.raises(UnencodableAnswer):
        encode(outputs=outputs)


def test_a_numpy_scalar_comes_back_as_an_array_without_dimensions() -> None:
    found = decode(encode())
    assert found is not None
    assert found.outputs["label"].shape == ()
    assert int(found.outputs["label"]) == 3
