"""Exports a torch module to ONNX with a free batch, and compares both on the example.

Imported only where a stage is a module: reading files needs no torch.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import shorten
from importing.onnx_files.reading import read_model

OPSET = 18
PARITY = 1e-3  # of the largest value of an output
EXAMPLE_ROWS = 3  # the exporter takes a size of 1 for a fixed one


def export_module(module: torch.nn.Module, example: object, path: Path) -> Path:
    """Write the module to `path`, checked against torch. `example` is one tensor [N, ...] or a
    tuple of them. Raises ImportFault.
    """
    arguments = example if isinstance(example, tuple) else (example,)
    if not arguments or not all(isinstance(one, torch.Tensor) for one in arguments):
        raise ImportFault(
            f"{path.stem}: a module needs an example, a tensor [N, ...] or a tuple of them"
        )
    rows = tuple(_repeat(one) for one in arguments)
    module = module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own code
            expected = module(*rows)
            torch.onnx.export(
                module,
                rows,
                str(path),
                dynamo=True,
                opset_version=OPSET,
                input_names=[f"input_{place}" for place in range(len(rows))],
                dynamic_shapes=tuple({0: torch.export.Dim("N")} for _ in rows),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises many classes
        raise ImportFault(f"{path.stem}: torch cannot export it: {shorten(error)}") from error
    _compare(path, rows, expected)
    return path


def _repeat(example: torch.Tensor) -> torch.Tensor:
    if example.ndim == 0:
        raise ImportFault("an example has no dimension for rows; give a tensor [N, ...]")
    return torch.cat([example] * EXAMPLE_ROWS)[:EXAMPLE_ROWS]


def _compare(path: Path, rows: tuple[torch.Tensor, ...], expected: object) -> None:
    outputs = expected if isinstance(expected, tuple | list) else (expected,)
    feed = {f"input_{place}": one.numpy() for place, one in enumerate(rows)}
    found = read_model(path).graph.run(feed)
    for one, other in zip(outputs, found, strict=True):
        values = one.detach().numpy()
        difference = float(np.abs(values - other).max())
        if not difference <= PARITY * max(1.0, float(np.abs(values).max())):
            raise ImportFault(f"{path.stem}: its ONNX file differs from torch by {difference:.2g}")
