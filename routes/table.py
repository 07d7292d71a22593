"""The kinds of pipelines, and the function that builds each kind: one line per kind."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from cascades import dual_cnn, exits, model, multi_label
from converters import cbnet, encoder_only, gated
from core.devices.interface import Device
from core.manifest import Manifest
from core.messages import Pipeline
from tokens.acm import pipeline as acm
from tokens.vision_language.serving import route as vlm

Build = Callable[[Path, Device], Pipeline]

PIPELINES: Mapping[str, Build] = MappingProxyType(
    {
        "dual-cnn": dual_cnn.build,
        "single": dual_cnn.build,  # one stage, nothing to decide
        "multi-label": multi_label.build,  # several labels at once, one stage or more
        "model": model.build,  # one stage that is no classifier
        "exits": exits.build,
        "cbnet": cbnet.build,
        "cbnet-gated": gated.build,
        "encoder-only": encoder_only.build,
        "acm": acm.build,
        "vlm": vlm.build,
    }
)

# Kinds whose stages are parts of one net, so that the last one cannot answer alone.
SEGMENTED = frozenset({"exits", "vlm"})

# Kinds that run on a device with torch, unless the settings name another one.
ON_TORCH = frozenset({"vlm"})


def count_full_macs(manifest: Manifest) -> int:
    """MACs of a row on the full model alone: the last stage, or all stages if they are one net."""
    stages = manifest.stages if manifest.pipeline in SEGMENTED else manifest.stages[-1:]
    return sum(stage.macs for stage in stages)
