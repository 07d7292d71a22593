"""The study's figure: hard pictures before and after conversion, by both converters."""

from pathlib import Path

from training.gated.experiment import Experiment
from training.gated.figure import draw_conversions, load_converter

CONVERTERS = {"converted": "guided-converter", "by the dense one": "converter"}


def draw_study(experiment: Experiment, path: Path) -> Path:
    """Hard pictures and what the study's converters make of them."""
    nets = {row: load_converter(experiment, name) for row, name in CONVERTERS.items()}
    return draw_conversions(experiment, path, nets)
