"""The model that Triton's Python backend runs; copied as `model.py`, with `answering.py` beside."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as backend  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))
from answering import Cascade  # type: ignore[import-not-found]


class TritonPythonModel:
    """Answers the requests that Triton has gathered as one batch."""

    def initialize(self, _: dict[str, Any]) -> None:
        self.cascade = Cascade(Path(__file__).parent)

    def execute(self, requests: list[Any]) -> list[Any]:
        pictures = [backend.get_input_tensor_by_name(one, "image").as_numpy() for one in requests]
        labels, probabilities = self.cascade.answer(np.concatenate(pictures))
        replies, start = [], 0
        for given in pictures:
            rows = slice(start, start + len(given))
            start += len(given)
            outputs = [
                backend.Tensor("label", labels[rows]),
                backend.Tensor("probabilities", probabilities[rows]),
            ]
            replies.append(backend.InferenceResponse(outputs))
        return replies
