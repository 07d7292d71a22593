"""The cases of the serving benchmark: which server gets which requests over how many connections.

Right answers are known before anything is asked: labels from a run without a server, places of the
label in an answer from one probing request. How often and in which order cases run is `serving`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import small_cnn
from harness.load.rpc import INFER, call_once, encode_grpc, expect_label
from harness.load.traffic import (
    Pictures,
    Traffic,
    encode_json,
    encode_label,
    encode_png,
    encode_rows,
    find_label,
    pack_binary,
)
from harness.pictures import load_pictures
from harness.servers import Server, post
from harness.stage_time import open_route, run_stages

CASCADE, LARGE = "fashion-mnist", "fashion-mnist-large"
BATCHED_CONNECTIONS, CASCADE_CONNECTIONS = 32, 64
DISTINCT_PICTURES = 4096

# What differs from the default settings, by server; "default" is what start-up is measured with.
SETTINGS: Mapping[str, str] = {
    "default": "",
    "no-memory": "[cache]\nenabled = false\n",
    "no-memory-no-rebatch": "[cache]\nenabled = false\n[engine]\nrebatch_stages = false\n",
    "no-memory-no-metrics": "[cache]\nenabled = false\n[metrics]\nenabled = false\n",
    "memory-no-metrics": "[metrics]\nenabled = false\n",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One load on one server. `path` for HTTP, `method` for gRPC."""

    name: str
    server: str
    connections: int
    traffic: Traffic
    path: str = ""
    headers: tuple[str, ...] = ()
    method: str = ""
    channels: int = 1  # of gRPC, each a connection


def build_http_cases(servers: Mapping[str, Server], models: Path) -> list[Case]:
    """The small CNN over HTTP without the cache, its echoes, cache hits, and lone requests."""
    pictures = _make_noise(DISTINCT_PICTURES)
    route = small_cnn.ROUTE
    labels = label_offline(models, route, pictures)
    binary, headers = make_binary_traffic(servers["no-memory"], route, pictures, labels)
    path = f"/v2/models/{route}/infer"
    same = Traffic(binary.bodies, [body[-8:] for body in binary.bodies], offset=-8)
    hit = Traffic(binary.bodies[:1], binary.expected[:1], binary.offset)
    hit_json = _json_traffic(servers["default"], route, pictures[0], binary.expected[0])
    echo_json = Traffic(hit_json.bodies, [b'"shape":[1,28,28]'])
    many = BATCHED_CONNECTIONS
    as_json = ("content-type: application/json",)
    return [
        Case("small-cnn-http", "no-memory", many, binary, path, headers),
        Case("echo", "echo", many, same, "/raw", headers),
        Case("hit", "default", many, hit, path, headers),
        Case("hit-no-metrics", "memory-no-metrics", many, hit, path, headers),
        Case("hit-json", "default", many, hit_json, path, as_json),
        Case("echo-json", "echo", many, echo_json, "/json", as_json),
        Case("lone-http", "no-memory", 1, binary, path, headers),
        Case("lone-echo", "echo", 1, same, "/raw", headers),
    ]


def build_picture_cases(models: Path) -> list[Case]:
    """The small CNN without memory, asked with PNGs."""
    pictures = _make_noise(DISTINCT_PICTURES // 16)
    labels = label_offline(models, small_cnn.ROUTE, pictures)
    right = Traffic(
        [encode_png(picture) for picture in pictures],
        [b'"label":%d,"top":' % label for label in labels],
    )
    path = f"/v1/routes/{small_cnn.ROUTE}/predict"
    return [Case("picture", "no-memory", BATCHED_CONNECTIONS, right, path)]


def build_grpc_cases(servers: Mapping[str, Server], models: Path) -> list[Case]:
    """The small CNN over gRPC without memory, and the no-op that answers with the same message."""
    pictures = _make_noise(DISTINCT_PICTURES)
    route = small_cnn.ROUTE
    labels = label_offline(models, route, pictures)
    bodies = [encode_grpc(route, picture) for picture in pictures]
    right = Traffic(bodies, [expect_label(label) for label in labels])
    same = Traffic(bodies, [right.expected[0]] * len(bodies))
    many = BATCHED_CONNECTIONS
    return [
        Case("small-cnn-grpc", "no-memory", many, right, method=INFER),
        Case("no-op-grpc", "no-op", many, same, method=INFER),
    ]


def make_no_op_reply(server: Server) -> bytes:
    """Our server's answer to the first picture of the gRPC cases."""
    return call_once(server.grpc_port, encode_grpc(small_cnn.ROUTE, _make_noise(1)[0]))


def build_cascade_cases(
    servers: Mapping[str, Server], models: Path, limit: int | None
) -> list[Case]:
    """Cascade, large model, cascade without re-batching and without metrics; same pictures."""
    pictures, _ = load_pictures()
    pictures = pictures[:limit]
    labels: dict[str, list[int]] = {}
    cases = []
    for name, server, route in (
        ("cascade", "no-memory", CASCADE),
        ("large", "no-memory", LARGE),
        ("cascade-no-rebatch", "no-memory-no-rebatch", CASCADE),
        ("cascade-no-metrics", "no-memory-no-metrics", CASCADE),
    ):
        labels[route] = labels.get(route) or label_offline(models, route, pictures)
        traffic, headers = make_binary_traffic(servers[server], route, pictures, labels[route])
        path = f"/v2/models/{route}/infer"
        cases.append(Case(name, server, CASCADE_CONNECTIONS, traffic, path, headers))
    return cases


def build_rows_case(server: Server, rows: int) -> Case:
    """The small CNN, so many rows a request; an answer is right if it ends as the first one did."""
    size = small_cnn.SIZE
    pictures = np.random.default_rng(1).integers(0, 256, (16, rows, size, size), dtype=np.uint8)
    encoded = [encode_rows(batch) for batch in pictures]
    bodies = [body for body, _ in encoded]
    headers = (f"inference-header-content-length: {encoded[0][1]}",)
    path = f"/v2/models/{small_cnn.ROUTE}/infer"
    expected = [post(server.http_port, path, body, headers)[0][-8:] for body in bodies]
    return Case(f"rows-{rows}", "no-memory", 8, Traffic(bodies, expected, -8), path, headers)


def _make_noise(count: int) -> Pictures:
    size = small_cnn.SIZE
    return np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)


def label_offline(models: Path, route: str, pictures: Pictures) -> list[int]:
    """The route's labels, without a server."""
    pipeline = open_route(models, route).pipeline
    labels: list[int] = run_stages(pipeline, pictures, 32).labels.tolist()
    return labels


def make_binary_traffic(
    server: Server, route: str, pictures: Pictures, labels: Sequence[int]
) -> tuple[Traffic, tuple[str, ...]]:
    """Raw OIP bodies and their headers; RuntimeError when the server's first answer is wrong."""
    bodies, headers = pack_binary(pictures)
    answer, fields = post(server.http_port, f"/v2/models/{route}/infer", bodies[0], headers)
    offset = find_label(answer, int(fields["inference-header-content-length"]))
    traffic = Traffic(bodies, [encode_label(label) for label in labels], offset)
    if not traffic.accepts(0, answer):
        raise RuntimeError(f"{route} answers another label than without a server, {labels[0]}")
    return traffic, headers


def _json_traffic(server: Server, route: str, picture: Pictures, label: bytes) -> Traffic:
    body = encode_json(picture)
    answer, _ = post(
        server.http_port,
        f"/v2/models/{route}/infer",
        body,
        ("content-type: application/json",),
    )
    outputs = {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
    expected = b'"data":[%d]' % int.from_bytes(label, "little")
    if encode_label(outputs["label"][0]) != label or expected not in answer:
        raise RuntimeError(f"{route} answers another label in JSON than without a server")
    return Traffic([body], [expected])
