"""Which rows each stage of a route gets: sessions that keep what they are given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from core.devices.onnx import OnnxDevice
from core.parameters import find_defaults
from importing.onnx_files.graphs import Array, Feed
from routes.loading import load_route
from routes.offline import run_offline
from routes.walk import UNREACHABLE_CONFIDENCE


class RecordingDevice(OnnxDevice):
    """Opens sessions that keep their rows, by the name of the file."""

    def __init__(self) -> None:
        super().__init__(precision="float32")
        self.kept: dict[str, list[Feed]] = {}

    def open(self, path: Path) -> Any:  # it stands for a session
        return _RecordingSession(super().open(path), self.kept.setdefault(path.name, []))


class _RecordingSession:
    def __init__(self, session: onnxruntime.InferenceSession, kept: list[Feed]) -> None:
        self._session = session
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Sequence[str] | None, feed: Feed) -> list[Array]:
        self._kept.append(feed)
        found: list[Array] = self._session.run(outputs, feed)
        return found


def record_rows(directory: Path, rows: Feed) -> Mapping[str, Feed]:
    """Send every row through all stages; return what each file got, [N, ...] by input.

    A file is left out if it got nothing, or rows of different shapes. Raises ModelDirectoryError.
    """
    device = RecordingDevice()
    loaded = load_route(directory, device)
    for kept in device.kept.values():
        kept.clear()  # of the trial run
    controls = {
        **find_defaults(loaded.manifest.parameters),
        "min_confidence": UNREACHABLE_CONFIDENCE,
    }
    run_offline(loaded.pipeline, rows, device, controls)
    joined = {name: _join(kept) for name, kept in device.kept.items()}
    return {name: feed for name, feed in joined.items() if feed is not None}


def _join(kept: Sequence[Feed]) -> Feed | None:
    shapes = {tuple(array.shape[1:] for array in feed.values()) for feed in kept}
    if len(shapes) != 1:
        return None
    return {name: np.concatenate([feed[name] for feed in kept]) for name in kept[0]}
