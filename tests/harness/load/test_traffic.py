"""Prepared requests, and how an answer is found right or wrong."""

import json
from pathlib import Path

import numpy as np

from harness.load.traffic import (
    Traffic,
    encode_binary,
    encode_json,
    encode_label,
    find_label,
    load_traffic,
)

PICTURE = np.arange(784, dtype=np.uint8).reshape(28, 28)


def test_traffic_survives_the_file(tmp_path: Path) -> None:
    for offset in (None, -8, 3):
        traffic = Traffic([b"one", b"", b"three"], [b"1", b"22", b""], offset)
        traffic.save(tmp_path / "traffic.npz")
        assert load_traffic(tmp_path / "traffic.npz") == traffic


def test_an_answer_is_right_only_with_the_expected_bytes_at_the_expected_place() -> None:
    from_end = Traffic([b""], [b"ab"], -3)
    assert from_end.accepts(0, b"xxxabx")
    assert not from_end.accepts(0, b"abxxxx")
    assert not from_end.accepts(0, b"")
    from_start = Traffic([b""], [b"ab"], 1)
    assert from_start.accepts(0, b"xab") and not from_start.accepts(0, b"abx")
    anywhere = Traffic([b"", b""], [b"ab", b""])
    assert anywhere.accepts(0, b"xxabxx") and not anywhere.accepts(0, b"ba")
    assert anywhere.accepts(1, b"whatever")


def test_a_binary_request_is_a_json_head_and_the_pictures_bytes() -> None:
    body, head_bytes = encode_binary(PICTURE)
    (tensor,) = json.loads(body[:head_bytes])["inputs"]
    assert tensor["shape"] == [1, 28, 28]
    assert tensor["parameters"]["binary_data_size"] == 784
    assert body[head_bytes:] == PICTURE.tobytes()


def test_a_json_request_holds_every_pixel() -> None:
    (tensor,) = json.loads(encode_json(PICTURE))["inputs"]
    assert tensor["data"] == PICTURE.ravel().tolist()


def test_the_label_is_found_whatever_stands_before_and_after_it() -> None:
    outputs = [
        {"name": "probabilities", "parameters": {"binary_data_size": 40}},
        {"name": "label", "parameters": {"binary_data_size": 8}},
        {"name": "confidence", "parameters": {"binary_data_size": 4}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    answer = head + bytes(40) + encode_label(7) + bytes(4)
    offset = find_label(answer, len(head))
    assert offset == -12
    assert Traffic([b""], [encode_label(7)], offset).accepts(0, answer)
    assert not Traffic([b""], [encode_label(6)], offset).accepts(0, answer)
