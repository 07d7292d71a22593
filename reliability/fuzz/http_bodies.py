"""Infer requests whose body is wrong: JSON changed in its structure or its bytes, binary tensors
that lie about their sizes, members without end. The framing of HTTP stays intact.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson

from reliability.fuzz.damage import damage, junk, write_json
from reliability.fuzz.valid_http import (
    Table,
    choose_rows,
    infer_path,
    post,
    write_binary,
    write_table,
)
from reliability.samples import Sample
from reliability.wire.conversation import Conversation

PARAMETERS = (
    "timeout_ms", "timeout", "energy_mj", "min_confidence", "no_cache", "binary_data_output",
    "sequence_id", "priority", "top_k", "x",
)  # fmt: skip
DATATYPES = ("UINT8", "INT64", "FP32", "BYTES", "BOOL", "FP16", "uint8", "", "UINT8 ")
TIMED = frozenset(PARAMETERS[:3])


def change_table(rng: Random, table: Table) -> Table:
    """One to three changes at any place of it."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(CHANGES)(rng, table)
    return table


def _change_member(rng: Random, table: Table) -> None:
    place: Any = table
    while True:
        keys: Sequence[Any] = list(place) if isinstance(place, dict) else range(len(place))
        if not keys:
            return
        key = rng.choice(keys)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            place = inner
            continue
        break
    deed = rng.randrange(4)
    if deed == 0:
        del place[key]
    elif deed == 1 and isinstance(place, dict):
        place[str(junk(rng))[:40]] = place[key]
    else:
        place[key] = junk(rng)


def _tensor(table: Table) -> Table:
    inputs = table.get("inputs")
    usable = isinstance(inputs, list) and inputs and isinstance(inputs[0], dict)
    return inputs[0] if usable and isinstance(inputs, list) else {}


def _change_shape(rng: Random, table: Table) -> None:
    shapes: Sequence[Any] = (
        [], [0], [1], [-1, 28, 28], [1, 28], [1, 28, 28, 1], [2**40, 28, 28], [1, 28.0, 28],
        ["1", 28, 28], [True, 28, 28], [2, 28, 28], [0, 28, 28], [1] * 200, [[1, 28, 28]],
        [2**63, 1, 1], [784], "1,28,28", {"0": 1},
    )  # fmt: skip
    _tensor(table)["shape"] = rng.choice(shapes)


def _change_datatype(rng: Random, table: Table) -> None:
    _tensor(table)["datatype"] = rng.choice((*DATATYPES, junk(rng)))


def _change_data(rng: Random, table: Table) -> None:
    tensor = _tensor(table)
    data = tensor.get("data")
    if not isinstance(data, list) or not data:
        return
    values: Sequence[Any] = (256, -1, 0.5, "1", None, True, [], {}, 1e400, 2**70, [1, 2])
    for _ in range(rng.choice((1, 1, 5))):
        data[rng.randrange(len(data))] = rng.choice(values)
    if rng.random() < 0.4:
        tensor["data"] = rng.choice((data[:-1], data * 2, [data], [[one] for one in data]))


def _change_parameters(rng: Random, table: Table) -> None:
    names = rng.sample(PARAMETERS, rng.randint(1, 4))
    values = {name: rng.choice((junk(rng), rng.random() * 100, "1.5", "1e2")) for name in names}
    rng.choice((table, _tensor(table)))["parameters"] = values


def _change_outputs(rng: Random, table: Table) -> None:
    known = ("label", "probabilities", "confidence", "exit", "stopped_by", "cached", "macs")
    names = rng.choices((*known, "energy_mj", "latency_ms", "x", "", None, 5), k=rng.randint(1, 4))
    parameters = rng.choice(({}, {"binary_data": rng.choice((True, False, 1, "x"))}, junk(rng)))
    table["outputs"] = [{"name": name, "parameters": parameters} for name in names]


def _double_input(rng: Random, table: Table) -> None:
    inputs = table.get("inputs")
    if isinstance(inputs, list) and inputs:
        inputs.append(rng.choice((inputs[0], {}, {"name": "x"}, junk(rng))))


def _add_nothing_often(rng: Random, table: Table) -> None:
    """Members that mean nothing, many of them."""
    count = rng.choice((100, 1000, 5000))
    field = rng.choice(("outputs", "inputs", "parameters"))
    item: Any = rng.choice(({}, {"name": "label"}, [], None))
    table[field] = {f"p{n}": n for n in range(count)} if field == "parameters" else [item] * count


CHANGES: Sequence[Callable[[Random, Table], None]] = (
    _change_member, _change_member, _change_member, _change_shape, _change_datatype, _change_data,
    _change_parameters, _change_parameters, _change_outputs, _double_input,
)  # fmt: skip


def spell_json(rng: Random, table: Table) -> bytes:
    """At times in another spelling than ours: duplicates, NaN, blanks, other encodings."""
    raw = write_json(table)
    deed = rng.randrange(12)
    if deed == 0:
        return raw[:-1] + b',"inputs":[]}'
    if deed == 1:
        return raw.replace(b"0", rng.choice((b"NaN", b"-Infinity", b"1e999", b"01", b"0x1")), 1)
    if deed == 2:
        return rng.choice((b"\xef\xbb\xbf", b"\0", b"\xff\xfe", b" \t\r\n")) + raw
    if deed == 3:
        return raw + rng.choice((b"}", b"\0", b" \n", b"{}", b"//", b","))
    return raw


def mutate_json(rng: Random, samples: Sequence[Sample]) -> Conversation:
    table = change_table(rng, write_table(choose_rows(rng, samples)))
    return _ask(rng, samples, spell_json(rng, table), "http json structure")


def mutate_json_bytes(rng: Random, samples: Sequence[Sample]) -> Conversation:
    raw = write_json(write_table(choose_rows(rng, samples)))
    return _ask(rng, samples, damage(rng, raw), "http json bytes")


def mutate_deep(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Nested or repeated far beyond need."""
    depth = rng.choice((200, 1000, 5000, 20_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"inputs":[', b"]}")))
    middle = rng.choice((b"", b"1", b"null"))
    body = opened * depth + middle + closed * rng.choice((depth, depth - 1, 0))
    if rng.random() < 0.4:
        table = write_table(choose_rows(rng, samples))
        _add_nothing_often(rng, table)
        body = write_json(table)
    elif rng.random() < 0.5:
        body = b'{"inputs":[{"name":"image","shape":[1],"data":' + body + b"}]}"
    return _ask(rng, samples, body, "http json without end")


def mutate_binary(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """The binary extension with sizes that do not add up."""
    rows = choose_rows(rng, samples)
    header, blob = write_binary(rows)
    length: object = len(header)
    deed = rng.randrange(6)
    if deed == 0:
        blob = damage(rng, blob)
    elif deed == 1:
        header = damage(rng, header)
    elif deed == 2:
        table = change_table(rng, orjson.loads(header))
        header = write_json(table)
        length = len(header)
    elif deed == 3:
        sizes = (0, -1, len(blob) - 1, len(blob) + 1, 2**31, 2**63, 10**20, 1.5, "784", None, True)
        table = orjson.loads(header)
        table["inputs"][0]["parameters"]["binary_data_size"] = rng.choice(sizes[:5])
        header = write_json(table)
        length = len(header)
    elif deed == 4:
        length = rng.choice((0, 1, len(header) - 1, len(header) + 1, 2**31, 10**25, -1, "x", ""))
    else:
        header, blob = header + header, blob[:5]
    name = rng.choice((b"Inference-Header-Content-Length", b"inference-header-content-length"))
    headers = [] if rng.random() < 0.05 else [(name, str(length).encode())]
    body = header + blob
    return Conversation(
        "http binary", [post(infer_path(rows[0]), body, headers)], timed=_timed(body)
    )


def mutate_controls(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """Deadlines, budgets and minimal confidences: odd ones, and possible ones."""
    table = write_table(choose_rows(rng, samples))
    _change_parameters(rng, table)
    _change_outputs(rng, table)
    return _ask(rng, samples, write_json(table), "http parameters")


def _timed(body: bytes) -> bool:
    return any(name.encode() in body for name in TIMED)


def _ask(rng: Random, samples: Sequence[Sample], body: bytes, kind: str) -> Conversation:
    path = infer_path(rng.choice(samples))
    return Conversation(kind, [post(path, body)], timed=_timed(body))
