"""Valid HTTP requests in every form that has the same meaning, and the check of their answers."""

import base64
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import orjson
from PIL import Image

from reliability.samples import Sample, stack
from reliability.wire.conversation import Conversation, HttpReply, Right

Table = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]
PAGES = (
    b"/livez", b"/readyz", b"/v2", b"/v2/health/live", b"/v2/health/ready", b"/v1/routes",
    b"/metrics", b"/openapi.json",
)  # fmt: skip


def post(path: str, body: bytes, headers: Headers = (), method: bytes = b"POST") -> bytes:
    """A whole request."""
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    head = b"%s %s HTTP/1.1\r\nhost: t\r\n%scontent-length: %d\r\n\r\n"
    return head % (method, path.encode(), lines, len(body)) + body


def infer_path(sample: Sample) -> str:
    return f"/v2/models/{sample.route}/infer"


def write_table(samples: Sequence[Sample], nested: bool = False) -> Table:
    """The JSON body of an infer request of these rows, without parameters."""
    rows = [sample.row for sample in samples]
    spec = samples[0].spec
    if spec.datatype == "BYTES":
        data = [[item.decode() for item in row.reshape(-1)] for row in rows]
    else:
        data = [(row if nested else row.reshape(-1)).tolist() for row in rows]
    flat: list[Any] = data if nested else [item for row in data for item in row]
    shape = [len(rows), *rows[0].shape]
    tensor = {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": flat}
    return {"inputs": [tensor]}


def write_blob(samples: Sequence[Sample]) -> bytes:
    """The rows as the bytes behind the JSON."""
    if samples[0].spec.datatype == "BYTES":
        items = [item for sample in samples for item in sample.row.reshape(-1)]
        return b"".join(struct.pack("<I", len(item)) + item for item in items)
    return b"".join(sample.row.tobytes() for sample in samples)


def write_binary(samples: Sequence[Sample], binary_answer: bool = True) -> tuple[bytes, bytes]:
    """JSON and tensor of the binary extension, the JSON alone first."""
    table = write_table(samples)
    blob = write_blob(samples)
    del table["inputs"][0]["data"]
    table["inputs"][0]["parameters"] = {"binary_data_size": len(blob)}
    table["parameters"] = {"binary_data_output": binary_answer}
    return orjson.dumps(table), blob


def write_png(sample: Sample, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(sample.row).save(buffer, "PNG", **options)
    return buffer.getvalue()


def expect_rows(samples: Sequence[Sample]) -> Right:
    """The declared outputs of these rows, in JSON or binary, to the bit."""
    wanted = {name: stack(samples, name) for name in ("label", "probabilities")}
    seen: set[bytes] = set()

    def check(reply: HttpReply) -> str:
        if reply.body in seen:
            return ""
        try:
            given = read_outputs(reply)
        except (ValueError, KeyError, TypeError) as error:
            return f"not an infer answer: {error!r}"
        fault = compare(wanted, given)
        if not fault and len(seen) < 4:
            seen.add(reply.body)
        return fault

    return check


def expect_pictures(samples: Sequence[Sample]) -> Right:
    """The same answers at the picture endpoint."""
    wanted = {name: stack(samples, name) for name in ("label", "probabilities")}

    def check(reply: HttpReply) -> str:
        try:
            answers = orjson.loads(reply.body)["answers"]
            given = {name: np.array([one[name] for one in answers]) for name in wanted}
        except (ValueError, KeyError, TypeError) as error:
            return f"not a picture answer: {error!r}"
        return compare(wanted, given)

    return check


def expect_page(reply: HttpReply) -> str:
    return "" if reply.body else "an empty page"


def compare(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What differs; floats are compared as float32, which JSON carries exactly."""
    for name, right in wanted.items():
        if name not in given:
            return f"{name} is missing"
        if not np.array_equal(np.asarray(given[name]).astype(right.dtype), right):
            return f"{name} is {given[name]}, right is {right}"
    return ""


def read_outputs(reply: HttpReply) -> dict[str, Any]:
    """Outputs by name of an infer answer. Raises ValueError, KeyError or TypeError."""
    length = reply.headers.get(b"inference-header-content-length")
    end = len(reply.body) if length is None else int(length)
    place = end
    found: dict[str, Any] = {}
    for one in orjson.loads(reply.body[:end])["outputs"]:
        if "data" in one:
            found[one["name"]] = np.array(one["data"]).reshape(one["shape"])  # texts stay texts
            continue
        size = one["parameters"]["binary_data_size"]
        dtype = {"INT64": "<i8", "FP32": "<f4"}[one["datatype"]]
        raw = reply.body[place : place + size]
        found[one["name"]] = np.frombuffer(raw, dtype).reshape(one["shape"])
        place += size
    return found


# One valid request of each form ------------------------------------------------------------------

Form = Callable[[Random, Sequence[Sample]], tuple[bytes, Right]]


def ask_json(rng: Random, samples: Sequence[Sample]) -> tuple[bytes, Right]:
    table = write_table(samples, nested=rng.random() < 0.3)
    if rng.random() < 0.3:
        table["id"] = str(rng.random())
    if rng.random() < 0.2:  # what is null is absent, and what is unknown is no matter
        table |= rng.choice(({"parameters": None}, {"outputs": None}, {"id": None}, {"x": [1]}))
    option = rng.choice((0, 0, orjson.OPT_INDENT_2, orjson.OPT_SORT_KEYS))
    return post(infer_path(samples[0]), orjson.dumps(table, option=option)), expect_rows(samples)


def ask_uncached(rng: Random, samples: Sequence[Sample]) -> tuple[bytes, Right]:
    table = write_table(samples) | {"parameters": {"no_cache": True}}
    return post(infer_path(samples[0]), orjson.dumps(table)), expect_rows(samples)


def ask_binary(rng: Random, samples: Sequence[Sample]) -> tuple[bytes, Right]:
    header, blob = write_binary(samples, binary_answer=rng.random() < 0.5)
    length = (b"Inference-Header-Content-Length", b"%d" % len(header))
    return post(infer_path(samples[0]), header + blob, [length]), expect_rows(samples)


def ask_pictures(rng: Random, samples: Sequence[Sample]) -> tuple[bytes, Right]:
    """A PNG, or a JSON list of them; tensors where the route takes no pictures."""
    picture = samples[0].manifest.picture
    if picture is None or samples[0].row.shape[:2] != (picture.height, picture.width):
        return ask_binary(rng, samples)
    files = [write_png(sample, compress_level=1) for sample in samples]
    body = files[0]
    if len(files) > 1 or rng.random() < 0.5:
        body = orjson.dumps([base64.b64encode(file).decode() for file in files])
    path = f"/v1/routes/{samples[0].route}/predict"
    return post(path, body), expect_pictures(samples)


def ask_page(rng: Random, samples: Sequence[Sample]) -> tuple[bytes, Right]:
    return b"GET %s HTTP/1.1\r\nhost: t\r\n\r\n" % rng.choice(PAGES[:6]), expect_page


FORMS: Sequence[Form] = (ask_json, ask_json, ask_uncached, ask_binary, ask_pictures)


def choose_rows(rng: Random, samples: Sequence[Sample]) -> list[Sample]:
    """One row mostly, at times a few of the same route."""
    first = rng.choice(samples)
    if rng.random() < 0.85:
        return [first]
    same = [sample for sample in samples if sample.manifest is first.manifest]
    return [rng.choice(same) for _ in range(rng.randint(2, 5))]


def make_valid(rng: Random, samples: Sequence[Sample]) -> Conversation:
    """A request whose answer is known; two or three in one packet at times."""
    count = rng.choice((1, 1, 1, 1, 2, 3))
    asked = [rng.choice(FORMS)(rng, choose_rows(rng, samples)) for _ in range(count)]
    return Conversation(
        kind="valid",
        packets=[b"".join(request for request, _ in asked)],
        answers=count,
        rights=[right for _, right in asked],
    )
