"""The int8 twins of a pool's nets, and which file of each net is the cheaper one here.

A twin is a member of the pool beside its net: `<name>-int8`. It is calibrated on training pictures.
Where it loses accuracy on held-out pictures, its first and last operators stay in float; where it
still does, or is no smaller, it is left out.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from core.devices.int8_speed import MAX_RATIO
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.classifiers import run_onnx
from training.export.members import Ready

SUFFIX = "-int8"
MAX_LOSS = 0.001  # of a twin's accuracy on held-out pictures
COST_BATCH = 32  # the batch size whose time a picture is the cost of a net


class Quantise(Protocol):
    def __call__(
        self, path: Path, rows: Mapping[str, np.ndarray], /, *, outer_in_float: bool = False
    ) -> bytes:
        """Return the twin's file; `rows` calibrate it, by input."""
        ...


def make_twin(net: Ready, data: DataSet, quantise: Quantise) -> Ready | None:
    """Write `<name>-int8.onnx` beside the net's file; None if it is no smaller or less accurate."""
    name = f"{net.name}{SUFFIX}"
    path = net.onnx.with_name(f"{name}.onnx")
    labels = data.held_out.labels
    least = accuracy(net.held_out, labels) - MAX_LOSS
    for outer_in_float in (False, True):
        rows = {"image": data.train.pictures}
        path.write_bytes(quantise(net.onnx, rows, outer_in_float=outer_in_float))
        held_out = run_onnx(path, data.held_out.pictures)
        if accuracy(held_out, labels) >= least:
            break
    else:
        return None
    if path.stat().st_size >= net.onnx.stat().st_size:
        return None
    parity = float(np.abs(held_out - net.held_out).max())
    return replace(net, name=name, onnx=path, held_out=held_out, parity=parity, us_per_picture={})


def list_nets(ready: Mapping[str, Ready]) -> list[str]:
    """Return the members that are no twins."""
    return [name for name in ready if find_net(name, ready) == name]


def find_net(name: str, ready: Mapping[str, Ready]) -> str:
    """Return the net that a member is, or is the twin of."""
    base = name.removesuffix(SUFFIX)
    return base if base in ready else name


def find_faster(net: str, ready: Mapping[str, Ready]) -> str:
    """Return the member that a server runs here: the twin if it is clearly faster, else the net."""
    twin = ready.get(f"{net}{SUFFIX}")
    if twin is None:
        return net
    ratio = twin.us_per_picture[COST_BATCH] / ready[net].us_per_picture[COST_BATCH]
    return twin.name if ratio <= MAX_RATIO else net
