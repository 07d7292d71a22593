"""Importing a training recipe, which needs packages that serving does without."""

from importlib import import_module
from types import ModuleType

from sparing.failure import Failure

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
            "run pip install -c constraints.txt -e '.[train]'"
        ) from error
