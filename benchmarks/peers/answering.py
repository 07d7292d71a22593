"""What a user writes around ONNX Runtime: one net, or a cascade in a few lines of numpy.

The same code is the floor, in a process without a server, and the model inside Triton. It needs
numpy and onnxruntime only.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Cascade:
    """Nets in order; a row goes on while its largest probability is under the net's threshold.
    `plan.json` beside the nets lists [file, temperature, threshold] for each.
    """

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.nets: list[tuple[Any, float, float]] = []
        for file, temperature, threshold in json.loads((folder / "plan.json").read_text()):
            session = onnxruntime.InferenceSession(
                str(folder / file), options, providers=["CPUExecutionProvider"]
            )
            self.nets.append((session, temperature, threshold))

    def answer(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels int64 [N] and probabilities float32 [N, K] of pictures uint8 [N, H, W]."""
        left = np.arange(len(pictures))
        probabilities = np.empty((len(pictures), 0), np.float32)
        for session, temperature, threshold in self.nets:
            (logits,) = session.run(["logits"], {"image": pictures[left]})
            logits = logits / temperature
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            logits /= logits.sum(axis=1, keepdims=True)
            if not probabilities.size:
                probabilities = logits.astype(np.float32, copy=False)
            else:
                probabilities[left] = logits
            left = left[logits.max(axis=1) < threshold]
            if not len(left):
                break
        return probabilities.argmax(axis=1), probabilities


def time_floor(folder: Path, pictures: np.ndarray, rows: int, seconds: float) -> float:
    """Return the CPU seconds of a row, from the bytes of `rows` rows to the bytes of the answer."""
    cascade = Cascade(folder)
    shape = (rows, *pictures.shape[1:])
    bodies = [
        pictures[start : start + rows].tobytes()
        for start in range(0, len(pictures) - rows + 1, rows)
    ]
    done, ends = 0, time.monotonic() + seconds
    began = time.process_time()
    while time.monotonic() < ends:
        for body in bodies[:8]:
            labels, probabilities = cascade.answer(np.frombuffer(body, np.uint8).reshape(shape))
            labels.tobytes() + probabilities.tobytes()
            done += rows
    return (time.process_time() - began) / done
