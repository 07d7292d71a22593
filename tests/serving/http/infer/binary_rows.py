"""Requests whose rows follow the JSON as bytes, and their answers."""

from collections.abc import Sequence

import numpy as np
import orjson

from tests.serving.http.wire import post


def write(
    value: float,
    names: Sequence[str] = ("y",),
    *headers: bytes,
    rows: int = 1,
    **parameters: object,
) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [rows]}
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in names]
    json = orjson.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": 8 * rows}}],
            "outputs": outputs,
            **({"parameters": parameters} if parameters else {}),
        }
    )
    json += b" " * (-len(json) % 8)  # a header is kept only if the bytes behind it are aligned
    content = np.full(rows, value).tobytes()
    length = b"inference-header-content-length: %d" % len(json)
    return post(json + content, length, *headers)


def last_number(answer: tuple[int, bytes]) -> float:
    assert answer[0] == 200, answer
    return float(np.frombuffer(answer[1][-8:])[0])
