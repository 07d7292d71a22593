"""The pipelines there are, and the function that builds each kind. One line a kind."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from cascades import dual_cnn, exits
from converters import cbnet, encoder_only, gated
from core.devices import Device
from core.messages import Pipeline

Build = Callable[[Path, Device], Pipeline]

PIPELINES: Mapping[str, Build] = MappingProxyType(
    {
        "dual-cnn": dual_cnn.build,
        "single": dual_cnn.build,  # one stage, nothing to decide
        "exits": exits.build,
        "cbnet": cbnet.build,
        "cbnet-gated": gated.build,
        "encoder-only": encoder_only.build,
    }
)
