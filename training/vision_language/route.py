"""A trained vision-language model as a route, with its operating points on held-out questions.

`operating-points.json` beside the weights has, for each question and each point, whether the
answer is right and whether it is that of the model without drops: what a guarantee needs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from core.manifest import FORMAT
from routes.writing import Table, write_version
from tokens.pyramid_drop.schedule import for_average_late
from tokens.vision_language.files import read_model, write_model
from tokens.vision_language.model import Dropping, VisionLanguageModel, VlmSpec
from tokens.vision_language.serving.declarations import describe, make_choices
from training.data.grids.examples import VOCABULARY
from training.data.grids.questions import FAMILIES
from training.data.grids.scenes import Sources
from training.vision_language.operating_points import Asked, Point, draw_questions, measure

ROUTE, NAME = "vlm-small", "vlm"
DROPS, EARLY_DROPS = (3, 5, 6), (1, 2, 4)  # layers before which `visual_tokens` drops
SHARES = (0.75, 0.47, 0.25)  # of visual tokens that a layer reads, on average
CONTEXT = 256
QUESTIONS, SEED = 300, 11  # of each family
POINTS_FILE = "operating-points.json"


def write_route(
    model: VisionLanguageModel,
    held_out: Sources,
    out: Path,
    making: Mapping[str, Any],
) -> Path:
    """Write the next version of `vlm-small`, weights in half precision; returns its directory."""

    def fill(folder: Path, version: str) -> Table:
        write_model(model, VOCABULARY, folder, NAME, torch.float16)
        rounded, _ = read_model(folder, NAME)
        asked = draw_questions(held_out, list(FAMILIES), QUESTIONS, SEED)
        points = measure(rounded, asked, list_settings(model.spec))
        (folder / POINTS_FILE).write_text(_list_verdicts(asked, points))
        return {
            "format": FORMAT,
            "route": ROUTE,
            "version": version,
            "task": ROUTE,
            "description": "Answers questions about grids of garments, objects and numbers.",
            "certificate": "none",
            **describe(
                model.spec,
                f"{NAME}.safetensors",
                drops=DROPS,
                early_drops=EARLY_DROPS,
                context=CONTEXT,
            ),
            "provenance": {**making, **_describe_points(points)},
        }

    return write_version(out, ROUTE, fill)


def list_settings(spec: VlmSpec) -> dict[str, Dropping]:
    """The route's operating points below the whole picture."""
    tokens, choices = spec.visual_tokens, make_choices(DROPS, EARLY_DROPS)
    return {
        f"{share:.0%}": Dropping(for_average_late(choices, spec.layers, tokens, share * tokens))
        for share in SHARES
    }


def _describe_points(points: Sequence[Point]) -> Table:
    families = sorted(FAMILIES)
    return {
        "points_from": f"{QUESTIONS} held-out questions of each family",
        "visual_tokens": [round(one.average_tokens, 3) for one in points],
        "mmacs": [round(one.macs / 1e6, 1) for one in points],
        "agreement": [round(one.agreement, 4) for one in points],
        "families": families,
        "right": [[round(one.right[family], 4) for family in families] for one in points],
    }


def _list_verdicts(asked: Asked, points: Sequence[Point]) -> str:
    """Bits as text, a digit for each question."""

    def bits(values: Sequence[bool]) -> str:
        return "".join("1" if value else "0" for value in values)

    described = {
        "families": [one.family for one in asked.questions],
        "points": [
            {
                "visual_tokens": one.average_tokens,
                "macs": one.macs,
                "right": bits(one.right_Q.tolist()),
                "same_as_full": bits(one.same_Q.tolist()),
            }
            for one in points
        ],
    }
    return json.dumps(described, indent=1) + "\n"
