"""Compares what two readings of a request found: arrays by value, and fit for a runtime."""

import numpy as np

from core.messages import Request


def check_same_inputs(found: Request, wanted: Request) -> None:
    """Same names in the same order; same dtype, shape and values; aligned."""
    assert list(found.inputs) == list(wanted.inputs)
    for name, array in found.inputs.items():
        assert (array.dtype, array.shape) == (wanted.inputs[name].dtype, wanted.inputs[name].shape)
        np.testing.assert_array_equal(array, wanted.inputs[name])
        assert array.flags.aligned
