"""The pipelines there are, and the function that builds each kind. One line a kind."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from cascades import dual_cnn
from core.devices import Device
from core.messages import Pipeline

Build = Callable[[Path, Device], Pipeline]

PIPELINES: Mapping[str, Build] = MappingProxyType(
    {
        "dual-cnn": dual_cnn.build,
        "single": dual_cnn.build,  # one stage, nothing to decide
    }
)
