"""What a model costs bare: ONNX Runtime on one thread, the part that no server can save."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from core.devices.onnx import OnnxDevice


def measure_onnx(path: Path, batches: Sequence[int], seconds: float) -> dict[int, dict[str, float]]:
    """By batch size: CPU a picture and wall-clock a call, measured for about `seconds` each after a
    warm-up of a tenth of it.
    """
    session = OnnxDevice().open(path)
    rng = np.random.default_rng(0)
    found: dict[int, dict[str, float]] = {}
    for batch in batches:
        feed = {
            node.name: _make_noise(rng, node.type, (batch, *node.shape[1:]))
            for node in session.get_inputs()
        }
        _call_for(seconds / 10, session, feed)
        cpu_s = time.process_time()
        walls_s = _call_for(seconds, session, feed)
        cpu_s = time.process_time() - cpu_s
        found[batch] = {
            "cpu_us": cpu_s * 1e6 / (len(walls_s) * batch),
            "p50_ms": float(np.median(walls_s)) * 1e3,
        }
    return found


def _make_noise(rng: np.random.Generator, kind: str, shape: Sequence[int]) -> np.ndarray:
    if kind == "tensor(uint8)":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.random(shape, dtype=np.float32)


def _call_for(
    seconds: float, session: onnxruntime.InferenceSession, feed: dict[str, Any]
) -> list[float]:
    """Seconds of each call; at least three calls."""
    walls_s: list[float] = []
    ends_at = time.perf_counter() + seconds
    while len(walls_s) < 3 or time.perf_counter() < ends_at:
        started = time.perf_counter()
        session.run(None, feed)
        walls_s.append(time.perf_counter() - started)
    return walls_s
