"""The datatypes of the Open Inference Protocol, with their numpy types and ONNX names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_NUMPY_AND_ONNX: Mapping[str, tuple[type[np.generic], str]] = {
    "BOOL": (np.bool_, "bool"),
    "UINT8": (np.uint8, "uint8"),
    "INT8": (np.int8, "int8"),
    "UINT16": (np.uint16, "uint16"),
    "INT16": (np.int16, "int16"),
    "UINT32": (np.uint32, "uint32"),
    "INT32": (np.int32, "int32"),
    "UINT64": (np.uint64, "uint64"),
    "INT64": (np.int64, "int64"),
    "FP16": (np.float16, "float16"),
    "FP32": (np.float32, "float"),
    "FP64": (np.float64, "double"),
    "BYTES": (np.object_, "string"),  # an input's elements are str, an output's bytes or str
}
DATATYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(scalar) for name, (scalar, _) in _NUMPY_AND_ONNX.items()
}
OF_ONNX: Mapping[str, str] = {
    f"tensor({onnx})": name for name, (_, onnx) in _NUMPY_AND_ONNX.items()
}
