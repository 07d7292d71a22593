"""The loads of the comparison: bodies of one or more pictures, and the labels that are right."""

from collections.abc import Sequence

import numpy as np

from benchmarks.serving.cases import Case
from harness.load.traffic import (
    Pictures,
    Traffic,
    encode_label,
    encode_rows,
    find_label,
    list_headers,
)
from harness.servers import Server, post


def build_case(
    name: str,
    server: tuple[str, Server],
    route: str,
    pictures: Pictures,
    labels: Sequence[int],
    *,
    rows: int = 1,
    connections: int,
) -> Case:
    """Requests of `rows` pictures each; every label of every answer is checked."""
    bodies, expected = [], []
    for start in range(0, len(pictures) - rows + 1, rows):
        body, head_bytes = encode_rows(pictures[start : start + rows])
        bodies.append(body)
        expected.append(b"".join(map(encode_label, labels[start : start + rows])))
    headers = list_headers(head_bytes)
    path = f"/v2/models/{route}/infer"
    answer, fields = post(server[1].http_port, path, bodies[0], headers)
    offset = find_label(answer, int(fields["inference-header-content-length"]))
    traffic = Traffic(bodies, expected, offset)
    if not traffic.accepts(0, answer):
        raise RuntimeError(f"{name}: the first answer has other labels than a run without a server")
    return Case(name, server[0], connections, traffic, path, headers)


def build_echo(server: tuple[str, Server], pictures: Pictures) -> Case:
    """The same bodies, sent back."""
    bodies = [encode_rows(picture[None])[0] for picture in pictures]
    traffic = Traffic(bodies, [body[-8:] for body in bodies], -8)
    return Case(
        "echo", server[0], 32, traffic, "/raw", list_headers(len(bodies[0]) - pictures[0].size)
    )


def make_noise(count: int, size: int) -> Pictures:
    """Distinct pictures for a net with random weights."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
