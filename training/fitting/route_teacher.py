"""A finished route as a teacher: its net's logits for pictures as they are trained on."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.manifest import Manifest, read_manifest
from training.data.sets import DataSet
from training.nets.predicting import Logits

Answer = Callable[[npt.NDArray[np.uint8]], Logits]
BATCH_ROWS = 32


class Teacher(Protocol):
    """What answers pictures as they are trained on."""

    @property
    def name(self) -> str:
        """What its answers depend on."""
        ...

    def answer(self, pictures: npt.NDArray[np.uint8], /) -> Logits:
        """Logits [N, classes]."""
        ...


class RouteTeacher:
    """The single net of a route directory `<route>/<version>`."""

    def __init__(self, directory: Path, data: DataSet) -> None:
        """Raises ValueError in one sentence for a route that cannot teach this data set."""
        try:
            manifest = read_manifest(directory)
            _check(manifest, directory, data)
            path = directory / manifest.stages[0].file
            self._session = OnnxDevice().open(path)
        except ModelDirectoryError as error:
            raise ValueError(str(error)) from error
        self.name = f"{manifest.route}:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

    def answer(self, pictures: npt.NDArray[np.uint8]) -> Logits:
        """Logits [N, classes]."""
        parts = [
            self._session.run(["logits"], {"image": pictures[start : start + BATCH_ROWS]})[0]
            for start in range(0, len(pictures), BATCH_ROWS)
        ]
        logits: Logits = np.concatenate(parts)
        return logits


def _check(manifest: Manifest, directory: Path, data: DataSet) -> None:
    if manifest.pipeline != "single":
        raise ValueError(f"{directory}: pipeline {manifest.pipeline!r}; a teacher is a single net")
    if manifest.labels != data.source.labels:
        raise ValueError(f"{directory}: its labels are not those of {data.name}")
