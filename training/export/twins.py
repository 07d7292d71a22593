"""The int8 twins of a pool's nets, and which file of each net is the cheaper one here.

A twin is a member of the pool beside its net: `<name>-int8`. It is calibrated on training pictures,
and left out if it is no smaller or loses accuracy on held-out pictures.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.devices.int8_speed import MAX_RATIO
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.classifiers import run_onnx
from training.export.members import Ready

SUFFIX = "-int8"
MAX_LOSS = 0.001  # of a twin's accuracy on held-out pictures
COST_BATCH = 32  # the batch size whose time a picture is the cost of a net

# (the net's file, rows that calibrate by input) -> the twin's file
Quantise = Callable[[Path, Mapping[str, np.ndarray]], bytes]


def make_twin(net: Ready, data: DataSet, quantise: Quantise) -> Ready | None:
    """Write `<name>-int8.onnx` beside the net's file; None if it is no smaller or less accurate."""
    name = f"{net.name}{SUFFIX}"
    path = net.onnx.with_name(f"{name}.onnx")
    path.write_bytes(quantise(net.onnx, {"image": data.train.pictures}))
    if path.stat().st_size >= net.onnx.stat().st_size:
        return None
    held_out = run_onnx(path, data.held_out.pictures)
    labels = data.held_out.labels
    if accuracy(held_out, labels) < accuracy(net.held_out, labels) - MAX_LOSS:
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
