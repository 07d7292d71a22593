"""Prepared requests: the bytes to send, and the bytes that a correct reply must hold.

Bodies are built once, before anything is measured, and passed to the load generator as one `.npz`
file without pickles. Encodes the part of the Open Inference Protocol that an image route needs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The reply to `bodies[i]` must contain `expected[i]`; empty: any reply is correct.

    With `offset` it must be at that position (negative: from the end), else anywhere.
    """

    bodies: Sequence[bytes]
    expected: Sequence[bytes]
    offset: int | None = None

    def accepts(self, index: int, answer: bytes) -> bool:
        wanted = self.expected[index]
        if self.offset is None:
            return wanted in answer
        start = self.offset if self.offset >= 0 else len(answer) + self.offset
        return answer[start : start + len(wanted)] == wanted

    def save(self, path: Path) -> None:
        np.savez(
            path,
            bodies=np.frombuffer(b"".join(self.bodies), np.uint8),
            body_bytes=np.array([len(body) for body in self.bodies]),
            expected=np.frombuffer(b"".join(self.expected), np.uint8),
            expected_bytes=np.array([len(wanted) for wanted in self.expected]),
            offset=np.array([] if self.offset is None else [self.offset], dtype=np.int64),
        )


def load_traffic(path: Path) -> Traffic:
    """Read a file that `Traffic.save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        offset = file["offset"]
        return Traffic(
            bodies=_split(file["bodies"], file["body_bytes"]),
            expected=_split(file["expected"], file["expected_bytes"]),
            offset=int(offset[0]) if len(offset) else None,
        )


def encode_binary(picture: Pictures) -> tuple[bytes, int]:
    """An OIP request of one picture [H,W] with its bytes raw, and the length of its JSON head."""
    return encode_rows(picture[None])


def encode_rows(pictures: Pictures, outputs: Sequence[str] = ()) -> tuple[bytes, int]:
    """The same of pictures [N,H,W]; answers hold these outputs, or none given, those declared."""
    table: dict[str, object] = {
        "inputs": [
            {
                "name": "image",
                "shape": [*pictures.shape],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": pictures.size},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    if outputs:
        table["outputs"] = [{"name": name} for name in outputs]
    head = json.dumps(table, separators=(",", ":")).encode()
    return head + pictures.tobytes(), len(head)


def pack_binary(pictures: Iterable[Pictures]) -> tuple[list[bytes], tuple[str, ...]]:
    """Such requests of pictures of one shape, and the header lines they share."""
    encoded = [encode_binary(picture) for picture in pictures]
    return [body for body, _ in encoded], list_headers(encoded[0][1])


def list_headers(head_bytes: int) -> tuple[str, ...]:
    """The header lines of a request whose JSON head is so long."""
    return (
        "content-type: application/octet-stream",
        f"inference-header-content-length: {head_bytes}",
    )


def encode_json(picture: Pictures) -> bytes:
    """An OIP request of one picture [H,W] as plain JSON."""
    tensor = {
        "name": "image",
        "shape": [1, *picture.shape],
        "datatype": "UINT8",
        "data": picture.ravel().tolist(),
    }
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def encode_png(picture: Pictures) -> bytes:
    """A picture [H,W] as a PNG file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def encode_label(label: int) -> bytes:
    """Encode a label as in a raw reply: one little-endian int64."""
    return int(label).to_bytes(8, "little", signed=True)


def find_label(answer: bytes, head_bytes: int) -> int:
    """Return the start of the labels' bytes in a binary reply, counted from the end."""
    return find_output(answer, head_bytes, "label")


def read_label(answer: bytes, head_bytes: int) -> int:
    """The label of a binary reply of one row."""
    start = len(answer) + find_label(answer, head_bytes)
    return int.from_bytes(answer[start : start + 8], "little", signed=True)


def find_output(answer: bytes, head_bytes: int, name: str) -> int:
    """The same of any output."""
    start = head_bytes
    for output in json.loads(answer[:head_bytes])["outputs"]:
        if output["name"] == name:
            return start - len(answer)
        start += output["parameters"]["binary_data_size"]
    raise ValueError(f"the answer has no output named {name}")


def _split(raw: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> list[bytes]:
    ends = np.cumsum(sizes)
    flat = raw.tobytes()
    return [flat[end - size : end] for size, end in zip(sizes, ends, strict=True)]
