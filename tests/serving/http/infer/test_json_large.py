"""Long JSON bodies: read exactly, refused before anything large is built, in bounded CPU time."""

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput, SparingError
from core.manifest import Manifest
from serving.http.infer.json_large import LARGE_BYTES
from serving.http.infer.json_numbers import PIECE_BYTES, NumberText, read_numbers
from serving.http.infer.tensor_body import ParsedRequest, read_request
from tests.serving.small_engine import make_manifest

SHAPE = (32, 32, 3)
MIB = 2**20


def make(datatype: str = "UINT8", shape: tuple[int, ...] = SHAPE) -> Manifest:
    spec = {"name": "image", "datatype": datatype, "shape": [-1, *shape]}
    return make_manifest(inputs=[spec])


def read(body: bytes, manifest: Manifest, length: bytes | None = None) -> ParsedRequest:
    return read_request(body, length, manifest, "small", None)


def write(array: np.ndarray[Any, Any], datatype: str, *, nested: bool, **members: Any) -> bytes:
    data = array.tolist() if nested else array.ravel().tolist()
    entry = {"name": "image", "datatype": datatype, "shape": list(array.shape), "data": data}
    return json.dumps({**members, "inputs": [entry]}).encode()


def make_array(datatype: str, rows: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(rows)
    if datatype == "BOOL":
        return rng.random((rows, *SHAPE)) < 0.5
    if datatype == "FP32":
        return rng.normal(size=(rows, *SHAPE)).astype(np.float32)
    low, high = (0, 256) if datatype == "UINT8" else (-(2**63), 2**63 - 1)
    return rng.integers(low, high, (rows, *SHAPE), dtype=np.dtype(datatype.lower()))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("datatype", ["UINT8", "INT64", "FP32", "BOOL"])
def test_long_data_is_read_to_the_bit(datatype: str, nested: bool) -> None:
    array = make_array(datatype, 24)
    body = write(array, datatype, nested=nested, id="7", parameters={"data": [1, 2]})
    assert len(body) > 3 * PIECE_BYTES
    asked = read(body, make(datatype))
    assert asked.id == "7"
    found = asked.request.inputs["image"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_long_json_before_binary_data_is_read() -> None:
    array = make_array("UINT8", 24)
    spec = {"name": "mask", "datatype": "UINT8", "shape": [-1, 2]}
    manifest = make_manifest(
        inputs=[{"name": "image", "datatype": "UINT8", "shape": [-1, *SHAPE]}, spec]
    )
    table = json.loads(write(array, "UINT8", nested=True))
    table["inputs"].append(
        {**spec, "shape": [24, 2], "parameters": {"binary_data_size": 48}},
    )
    header = json.dumps(table).encode()
    asked = read(header + bytes(range(48)), manifest, b"%d" % len(header))
    np.testing.assert_array_equal(asked.request.inputs["image"], array)
    assert asked.request.inputs["mask"].ravel().tolist() == list(range(48))


DAMAGES = {
    "a number behind a list": (b"[[1, 2], [3, 4]", b"[[1, 2] 3, [4]"),
    "a number before a list": (b"[[1, 2], [3, 4]", b"[[1, 2], 3 [4]"),
    "a number in no list": (b"[[1, 2], [3, 4]", b"[[1, 2], 3, [4]"),
    "a list too few": (b"[[1, 2], [3, 4]", b"[[1, 2, 3, 4]"),
    "a list too deep": (b"[[1, 2], [3, 4]", b"[[1, 2], [[3], 4]"),
    "two numbers without a comma": (b"[3, 4]", b"[3 4]"),
    "an empty element": (b"[3, 4]", b"[3,, 4]"),
    "a missing element": (b"[3, 4]", b"[3]"),
    "a surplus element": (b"[3, 4]", b"[3, 4, 5]"),
    "a number that does not fit": (b"[3, 4]", b"[3, 256]"),
    "a fraction": (b"[3, 4]", b"[3, 4.0]"),
    "null": (b"[3, 4]", b"[3, null]"),
    "a truth value": (b"[3, 4]", b"[3, tru]"),
    "half a number": (b"[3, 4]", b"[3, 4e]"),
    "a list that does not end": (b"[5, 6]]}", b"[5, 6}"),
}


@pytest.mark.parametrize(("old", "new"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_long_data_is_refused(old: bytes, new: bytes) -> None:
    pairs = [[1, 2], [3, 4], *[[255, 255]] * 20_000, [5, 6]]
    body = write(np.array(pairs, np.uint8), "UINT8", nested=True)
    assert body.count(old) == 1
    read(body, make("UINT8", (2,)))
    with pytest.raises(InvalidInput, match=r"inputs\.image\.data|body: "):
        read(body.replace(old, new), make("UINT8", (2,)))


@given(
    st.lists(st.sampled_from(["[", "]", ",", " ", "1", "23", "-", "e", "[1,2]"]), max_size=30),
    st.sampled_from([(2, 2), (4,), (1, 2, 2), (4, 1)]),
)
def test_short_pieces_of_any_text_are_read_as_the_whole_or_refused(
    parts: list[str], shape: tuple[int, ...]
) -> None:
    manifest = make("UINT8", shape[1:])
    (spec,) = manifest.inputs
    text = ("[" + "".join(parts) + "]").encode()
    padded = b"[" + b" " * PIECE_BYTES + text[1:]
    wanted = None
    try:
        array = np.array(json.loads(text), dtype=np.uint8)
        wanted = array if array.shape in (shape, (4,)) else None
    except (ValueError, OverflowError, TypeError):
        pass
    try:
        found = read_numbers(spec, shape, 4, NumberText(padded, 0, len(padded)))
    except InvalidInput:
        return
    assert wanted is not None
    assert found.ravel().tolist() == wanted.ravel().tolist()


def fill(head: bytes, unit: bytes, tail: bytes, size: int = 16 * MIB) -> bytes:
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


HEAD = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,32,32,3],"data":['
TEXT = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1,32,32,3],"data":['
BOMBS = {
    "inputs": fill(b'{"inputs":[{}', b",{}", b"]}"),
    "outputs": fill(HEAD + b'1]}],"outputs":[{}', b",{}", b"]}"),
    "lists": fill(HEAD + b"[1]", b",[1]", b"]}]}"),
    "numbers": fill(HEAD + b"1", b",1", b"]}]}"),
    "numbers of no input": fill(b'{"x":[1e1', b",1e1", b"]}"),
    "parameters": fill(b'{"parameters":{"a":1', b',"a":1', b"}}"),
    "data": fill(b'{"a":1', b',"data":[1]', b"}"),
    "open data": fill(b'{"a":1', b',"data":[', b"}"),
    "depth": fill(b'{"data":', b"[", b""),
    "blanks": fill(HEAD, b" ", b"]}]}"),
    "commas": fill(HEAD, b",", b"]}]}"),
    "texts": fill(TEXT + b'"a"', b',"a"', b"]}]}"),
    "quotes": fill(TEXT + b'"', b'\\"', b'"]}]}'),
    "lists of text": fill(TEXT + b'"a"', b",[]", b"]}]}"),
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
def test_a_body_of_16_mib_that_asks_for_millions_of_objects_is_refused_cheaply(
    body: bytes,
) -> None:
    manifest = make("BYTES" if body.startswith(TEXT) else "UINT8")
    began = time.thread_time()
    with pytest.raises(SparingError):
        read(body, manifest)
    assert time.thread_time() - began < 0.6  # parsed whole: up to 1.6 s


def test_many_texts_are_refused_and_few_long_ones_read() -> None:
    manifest = make("BYTES", (1,))
    long = np.array([["x" * 60_000 + '"\\{[,'], ["ä"]] * 8, dtype=object)
    asked = read(write(long, "BYTES", nested=True), manifest)
    assert asked.request.inputs["image"].tolist() == long.tolist()
    many = np.full((20_000, 1), "abc", dtype=object)
    with pytest.raises(SparingError, match="allowed 16384"):
        read(write(many, "BYTES", nested=False), manifest)


def test_a_text_that_looks_like_a_list_is_no_list() -> None:
    body = write(np.zeros((1, *SHAPE), np.uint8), "UINT8", nested=False, x="y" * LARGE_BYTES)
    wrong = body.replace(b'"data": [', b'"data": "0", "other": [', 1)
    with pytest.raises(InvalidInput, match=r"inputs\.image\.data: given '0', allowed a list"):
        read(wrong, make())
