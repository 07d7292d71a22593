"""Running a training recipe, which needs packages that serving does without."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from sparing.failure import Failure
from sparing.interrupting import resumable

TRAIN_EXTRA = frozenset({"torch", "safetensors", "onnx", "onnxscript", "matplotlib"})


def import_recipe(name: str) -> ModuleType:
    """Import the module. Without the train extra, raises a Failure that tells how to install it."""
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
    """Turn errors about data, options and folders into a Failure, and Ctrl-C and SIGTERM into one
    that tells how to resume.
    """
    try:
        with resumable():
            yield
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error
