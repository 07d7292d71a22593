"""What the output of a model seems to be, from the operator that makes it and from its values.

A guess names its reason. What only labels can tell (a regression from a single logit, one class of
several from many at once) is decided where labels are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import onnx

from importing.onnx_files.graphs import Array, Tensor, find_producer, read_attribute

SUM_TOLERANCE = 1e-3
_PASS = {"Identity", "Cast", "Reshape", "Squeeze", "Flatten"}  # values stay as they are


class OutputKind(StrEnum):
    """Kinds of outputs."""

    logits = "logits"
    softmax = "softmax"
    log_softmax = "log-softmax"
    sigmoid = "sigmoid"
    margin = "margin"  # one logit of two classes
    regression = "regression"
    embedding = "embedding"
    detection = "detection"
    label = "label"  # whole numbers: a class each


CLASSIFIES = frozenset(
    {OutputKind.logits, OutputKind.softmax, OutputKind.log_softmax, OutputKind.margin}
)
_BY_PRODUCER: Mapping[str, OutputKind] = MappingProxyType(
    {
        "Softmax": OutputKind.softmax,
        "LogSoftmax": OutputKind.log_softmax,
        "Sigmoid": OutputKind.sigmoid,
        "HardSigmoid": OutputKind.sigmoid,
    }
)
_NAMES_OF_ONE = ("value", "regress", "price", "target", "variable")  # a single number a row
_NAMES_OF_MANY = ("embed", "feature", "pooler", "hidden")


@dataclass(frozen=True, slots=True)
class OutputGuess:
    """The kind of one output, and why."""

    tensor: Tensor
    kind: OutputKind
    reason: str
    classes: int  # of a classifier, else the length of the last dimension


def guess_output(model: onnx.ModelProto, tensor: Tensor, values: Array) -> OutputGuess:
    """Guess from the graph and from `values` [N, ...] of several rows."""
    kind, reason = _guess(model, tensor, values)
    classes = int(values.shape[-1]) if values.ndim > 1 else 1
    return OutputGuess(tensor, kind, reason, 2 if kind is OutputKind.margin else classes)


def guess_from_parts(model: onnx.ModelProto, tensor: Tensor, parts: Sequence[Array]) -> OutputGuess:
    """Guess from parts [n, ...] of the rows' values, which may differ in size."""
    if len({part.shape[1:] for part in parts}) == 1:
        return guess_output(model, tensor, np.concatenate(parts))
    reason = "its size depends on what a row holds"
    return OutputGuess(tensor, OutputKind.detection, reason, 0)


def choose_output(guesses: Sequence[OutputGuess], name: str | None = None) -> OutputGuess:
    """Choose the output that answers: the named one, else the first that classifies, else the
    first. Raises ValueError if no output has the name.
    """
    if name is not None:
        for guess in guesses:
            if guess.tensor.name == name:
                return guess
        names = ", ".join(guess.tensor.name for guess in guesses)
        raise ValueError(f"output={name}: no such output; the model has {names}")
    ranked = [guess for guess in guesses if guess.kind in CLASSIFIES]
    return (ranked or list(guesses))[0]


def judge_values(values: Array) -> OutputKind | None:
    """Recognise probabilities and their logarithms [N, K] by their values; None if neither."""
    if values.ndim != 2 or values.shape[1] < 2 or not np.issubdtype(values.dtype, np.floating):
        return None
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        return None
    if (numbers >= 0).all():
        if np.abs(numbers.sum(axis=1) - 1).max() <= SUM_TOLERANCE:
            return OutputKind.softmax
        return None
    if (numbers <= 0).all() and np.abs(np.exp(numbers).sum(axis=1) - 1).max() <= SUM_TOLERANCE:
        return OutputKind.log_softmax
    return None


def _guess(model: onnx.ModelProto, tensor: Tensor, values: Array) -> tuple[OutputKind, str]:
    if not np.issubdtype(values.dtype, np.floating):
        return OutputKind.label, f"values are {values.dtype}"
    if values.ndim > 2:
        return OutputKind.detection, f"one row is {list(values.shape[1:])}"
    made = _find_maker(model, tensor.name)
    if made is OutputKind.sigmoid:
        return made, "a Sigmoid makes it"
    if values.ndim == 1 or values.shape[1] == 1:
        return _guess_single(tensor.name)
    if made is not None:
        return made, f"a {'Softmax' if made is OutputKind.softmax else 'LogSoftmax'} makes it"
    return _guess_several(tensor.name, values)


def _guess_single(name: str) -> tuple[OutputKind, str]:
    if _has_word(name, _NAMES_OF_ONE):
        return OutputKind.regression, f"one number a row, and its name is {name!r}"
    return OutputKind.margin, "one number a row; a regression if the labels are no classes"


def _guess_several(name: str, values: Array) -> tuple[OutputKind, str]:
    found = judge_values(values)
    if found is OutputKind.softmax:
        return found, "every row adds up to 1"
    if found is OutputKind.log_softmax:
        return found, "exp of every row adds up to 1"
    if _has_word(name, _NAMES_OF_MANY):
        return OutputKind.embedding, f"its name is {name!r}"
    return OutputKind.logits, f"{values.shape[1]} numbers a row that are no probabilities"


def _has_word(name: str, words: Sequence[str]) -> bool:
    return any(word in name.lower() for word in words)


def _find_maker(model: onnx.ModelProto, name: str) -> OutputKind | None:
    """Return what the operator that makes the tensor says of it, past those that only reshape."""
    node = find_producer(model, name)
    while node is not None and node.op_type in _PASS:
        node = find_producer(model, node.input[0])
    if node is None:
        return None
    kind = _BY_PRODUCER.get(node.op_type)
    if kind in {OutputKind.softmax, OutputKind.log_softmax}:
        axis = read_attribute(node, "axis", -1)
        return kind if axis in {-1, 1} else None
    return kind
