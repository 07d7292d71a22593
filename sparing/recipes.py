"""Running a training recipe, which needs packages that serving does without."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from sparing.failure import Failure
from sparing.interrupting import resumable

TRAIN_EXTRA = frozenset({"torch", "safetensors", "onnx", "onnxscript", "matplotlib"})


def import_recipe(name: str) -> ModuleType:
    """The module; where the train extra is not installed, a sentence that says how to."""
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
def failing_in_a_sentence() -> Iterator[None]:
    """Within it, unusable data, options and folders end in a Failure, and so do Ctrl-C and SIGTERM,
    which says how to go on.
    """
    try:
        with resumable():
            yield
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from error
