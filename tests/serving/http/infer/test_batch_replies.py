"""Replies to rows of one batch, written one after the other: each as if it had come alone."""

from typing import Any, cast

import numpy as np
import orjson
import pytest

from core.messages import Outcomes, Reply, RowAnswers
from serving.http.infer.repeated_headers import RepeatedHeaders
from serving.http.infer.tensor_body import ParsedRequest, read_request, write_reply
from tests.serving.small_engine import make_manifest

MANIFEST = make_manifest()
ROWS = 6


def ask(*names: str, id: str = "", binary: bool = True) -> ParsedRequest:
    entry = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 2, 3],
        "parameters": {"binary_data_size": 6},
    }
    request: dict[str, Any] = {"inputs": [entry], "parameters": {"binary_data_output": binary}}
    header = orjson.dumps({**request, "id": id, "outputs": [{"name": name} for name in names]})
    return read_request(header + bytes(6), b"%d" % len(header), MANIFEST, "small", None)


def make_batch(rows: int = ROWS, **changes: Any) -> Outcomes:
    shades = np.linspace(0.0, 1.0, rows)
    outputs: dict[str, Any] = {
        "label": np.arange(rows, dtype=np.int64),
        "probabilities": np.stack([1 - shades, shades], axis=1).astype(np.float32),
    }
    return Outcomes({**outputs, **changes}, shades, 0, ["shade"])


def reply_to(outcomes: Outcomes, row: int, *, similar: bool = False) -> Reply:
    part = RowAnswers(range(1), outcomes, [row], "confidence", False, 7, None, 0.5, similar)
    return Reply("small", "1", "ab" * 32, "none", "none", [part])


def check_written(headers: RepeatedHeaders, reply: Reply, asked: ParsedRequest) -> None:
    assert headers.write(reply, MANIFEST, asked) == write_reply(reply, MANIFEST, asked)


@pytest.mark.parametrize("rows", [1, 3, ROWS])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("id", ["", "7"])
@pytest.mark.parametrize(
    "names", [[], ["label"], ["probabilities", "label"], ["label", "confidence"]]
)
def test_every_row_of_a_batch_gets_its_own(
    names: list[str], id: str, binary: bool, rows: int
) -> None:
    headers, asked, batch = RepeatedHeaders(), ask(*names, id=id, binary=binary), make_batch(rows)
    for row in [*range(rows), *reversed(range(rows))]:
        check_written(headers, reply_to(batch, row), asked)


def test_later_replies_come_from_the_first_ones() -> None:
    headers, asked, batch = RepeatedHeaders(), ask(), make_batch()
    for row in range(2):
        headers.write(reply_to(batch, row), MANIFEST, asked)
    expected = [write_reply(reply_to(batch, row), MANIFEST, asked) for row in range(ROWS)]
    batch.outputs["label"][:] = 0  # what is read afresh would show
    found = [headers.write(reply_to(batch, row), MANIFEST, asked) for row in range(ROWS)]
    assert found == expected


def test_batches_and_what_is_asked_for_may_alternate() -> None:
    headers, batches = RepeatedHeaders(), [make_batch(), make_batch(label=np.arange(6)[::-1])]
    asked = [ask(), ask("label"), ask("probabilities", "label"), ask("exit")]
    for row in range(ROWS):
        for batch in batches:
            for _ in range(3):
                for one in asked:
                    check_written(headers, reply_to(batch, row), one)


@pytest.mark.parametrize("field", ["digest", "energy_source"])
def test_what_the_json_says_is_not_mixed_up(field: str) -> None:
    headers, asked, batch = RepeatedHeaders(), ask(), make_batch()
    for row in range(ROWS):
        reply, changes = reply_to(batch, row), cast("dict[str, Any]", {field: "other"})
        check_written(headers, reply, asked)
        check_written(headers, reply._replace(**changes), asked)
        check_written(headers, reply_to(batch, row, similar=True), asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": np.zeros(ROWS, np.int8)},
        {"label": np.zeros(ROWS, np.float64)},
        {"probabilities": np.asfortranarray(np.random.default_rng(0).random((ROWS, 2), "f4"))},
        {"probabilities": [np.zeros(2, np.float32)] * ROWS},
    ],
)
def test_outputs_of_another_type_or_memory_order_are_written_as_declared(
    changes: dict[str, Any],
) -> None:
    headers, asked, batch = RepeatedHeaders(), ask(), make_batch(**changes)
    for row in range(ROWS):
        check_written(headers, reply_to(batch, row), asked)


def test_a_kept_header_is_not_the_callers_to_change() -> None:
    headers, asked, batch = RepeatedHeaders(), ask(), make_batch()
    for row in range(ROWS):
        lines, _body = headers.write(reply_to(batch, row), MANIFEST, asked)
        assert len(lines) == 2
        lines.append((b"connection", b"close"))
