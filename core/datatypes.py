"""The protocol's datatypes as numpy's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "INT8": np.dtype(np.int8),
    "UINT16": np.dtype(np.uint16),
    "INT16": np.dtype(np.int16),
    "UINT32": np.dtype(np.uint32),
    "INT32": np.dtype(np.int32),
    "UINT64": np.dtype(np.uint64),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),  # an input's elements are str, an output's bytes or str
}
