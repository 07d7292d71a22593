"""A toy generator on torch, as a reference for pipelines that keep states.

`prefill` turns a picture into the first token and a state on the device. `decode` adds a token a
step, in place, until a token ends the row: rows join and leave its batches between steps, every
step's tokens are streamed, and a batch that raises is not run again. The arithmetic is of integers,
so that a row's tokens do not depend on its batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from core.classifiers.classifier import Bools, find_below_requested
from core.columns import Onward, Steps
from core.devices.interface import Device
from core.manifest import read_manifest
from core.messages import Array, Batch, Outcomes, StateHandle
from harness.tiny_routes import SIZE, describe_file, write_manifest

KIND = "toy-generator"
MOST_TOKENS = 12
STATE_BYTES = 8 * (MOST_TOKENS + 1)
MODULUS = 2**31 - 1
VOCABULARY = 100_000
CONFIDENCE = 0.5


@dataclass
class Tokens:
    """What a row keeps on the device: its tokens so far, and the number that makes the next."""

    number: torch.Tensor  # int64, []
    tokens: torch.Tensor  # int64, [MOST_TOKENS]
    length: int = 1


@dataclass(frozen=True)
class Prefill:
    name: str
    weights: Mapping[str, torch.Tensor]

    def run(self, rows: Batch) -> Steps:
        pictures = rows.inputs["image"].reshape(len(rows.states), -1).to(torch.int64)
        numbers = (pictures * self.weights["weight"]).sum(1) % MODULUS
        states = [_begin(number) for number in numbers]
        sound = ~(pictures[:, :4] == 255).all(1).numpy(force=True)
        unsure = find_below_requested(rows, np.full(len(states), CONFIDENCE))
        return _answer(self.name, states, sound=sound, unsure=unsure)


@dataclass(frozen=True)
class Decode:
    name: str
    weights: Mapping[str, torch.Tensor]
    batches: list[int] = field(default_factory=list)  # the size of each
    repeatable = False

    def run(self, rows: Batch) -> Steps:
        self.batches.append(len(rows.states))
        kept = [handle for handle in rows.states if handle is not None]
        states: list[Tokens] = [handle.value for handle in kept if handle.value is not None]
        factor, addend = self.weights["factor"], self.weights["addend"]
        numbers = (torch.stack([one.number for one in states]) * factor + addend) % MODULUS
        for one, number in zip(states, numbers, strict=True):
            one.number = number.clone()
            one.tokens[one.length] = number % VOCABULARY
            one.length += 1
        return _answer(self.name, states, handles=kept)


@dataclass(frozen=True)
class Generator:
    digest: bytes
    first: str
    stages: Mapping[str, Prefill | Decode]

    def state_bytes(
        self, inputs: Mapping[str, Array], _controls: Mapping[str, Any], /
    ) -> npt.NDArray[np.int64]:
        return np.full(len(inputs["image"]), STATE_BYTES)


def build(directory: Path, device: Device) -> Generator:
    manifest = read_manifest(directory)
    prefill, decode = (device.open(directory / spec.file) for spec in manifest.stages)
    stages: dict[str, Prefill | Decode] = {
        "prefill": Prefill("prefill", prefill),
        "decode": Decode("decode", decode),
    }
    return Generator(manifest.digest, "prefill", stages)


def write_generator(root: Path, seed: int = 0, route: str = "toy-generator") -> Path:
    """Write a route directory with random weights and return it."""
    directory = root / route / "1"
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    weights: Mapping[str, Mapping[str, Any]] = {  # arrays and numbers
        "prefill": {"weight": random.integers(1, 2**20, SIZE * SIZE)},
        "decode": {"factor": random.integers(2, 2**20), "addend": random.integers(1, 2**20)},
    }
    for stage, arrays in weights.items():
        save_file(
            {name: np.asarray(array) for name, array in arrays.items()},
            directory / f"{stage}.safetensors",
        )
    files = [f"{stage}.safetensors" for stage in weights]
    table = {
        "format": 1,
        "route": route,
        "version": "1",
        "task": "generate-tiny",
        "pipeline": KIND,
        "expected_macs": 1.0,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, SIZE, SIZE]}],
        "outputs": [{"name": "tokens", "datatype": "INT64", "shape": [-1, -1]}],
        "stages": [{"name": stage, "file": f"{stage}.safetensors", "macs": 1} for stage in weights],
        "files": {name: describe_file(directory / name) for name in files},
        "provenance": {"recipe": "random weights", "seed": seed},
    }
    write_manifest(directory, table)
    return directory


def _begin(number: torch.Tensor) -> Tokens:
    tokens = torch.zeros(MOST_TOKENS, dtype=torch.int64, device=number.device)
    tokens[0] = number % VOCABULARY
    return Tokens(number.clone(), tokens)


def _answer(
    stage: str,
    states: Sequence[Tokens],
    *,
    handles: Sequence[StateHandle] = (),
    sound: Bools | None = None,
    unsure: Bools | None = None,
) -> Steps:
    """Answer each row with its tokens so far, and send on those whose last does not end them."""
    tokens = [one.tokens[: one.length].cpu().numpy().copy() for one in states]
    lengths, last = np.array([len(one) for one in tokens]), np.array([one[-1] for one in tokens])
    goes_on = (last % 4 > 0) & (lengths < MOST_TOKENS)
    if sound is not None and unsure is not None:
        goes_on = (goes_on | unsure) & sound
    going = np.flatnonzero(goes_on)
    onward: Sequence[Onward] = ()
    if going.size:
        kept = [
            handles[row] if handles else StateHandle(states[row], STATE_BYTES)
            for row in going.tolist()
        ]
        onward = (Onward("decode", going, {"last": last[going]}, kept),)
    confidence = np.full(len(states), CONFIDENCE)
    answers = Outcomes({"tokens": tokens}, confidence, 0, (stage,))
    return Steps(len(states), 1, answers, sound, onward)
