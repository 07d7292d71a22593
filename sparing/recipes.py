"""Runs a training recipe, which needs packages that serving does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from sparing.failure import Failure
from sparing.interrupting import resumable

MODELS_EXTRA = "onnx"  # reads, rewrites and quantises models
TRAIN_EXTRA = frozenset({"torch", "safetensors", "onnx", "onnxscript", "matplotlib"})


def import_recipe(name: str) -> ModuleType:
    """Import the module. Raises Failure with the command to install the train extra."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAIN_EXTRA:
            raise
        raise Failure(
            f"training needs {package}, which is not installed: "
            "run make setup, or pip install '.[train]'"
        ) from error


@contextmanager
def failing_with_message() -> Iterator[None]:
    """Turn errors about data, options and folders into a Failure.

    Ctrl-C and SIGTERM become a Failure that explains how to resume.
    """
    try:
        with resumable():
            yield
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error


def import_importing(name: str) -> ModuleType:
    """Import a module of `importing`. Raises Failure with the command to install what it needs."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != MODELS_EXTRA:
            raise
        raise Failure(
            "this needs onnx, which is not installed: run make setup, or pip install '.[models]'"
        ) from error


@contextmanager
def failing_on_own_models() -> Iterator[None]:
    """Turn faults of models, data and options into a Failure."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error
