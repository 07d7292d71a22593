"""The shipped vision-language model: whole, small, and it answers as its provenance says."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from core.devices.torch import TorchDevice
from harness.live_server import ROOT
from routes.loading import LoadedRoute, find_routes, load_route
from routes.offline import run_offline

(DIRECTORY,) = (path for path in find_routes(ROOT / "models") if path.parent.name == "vlm-small")
PICTURE = ROOT / "docs" / "pictures" / "vlm" / "grid.png"
LEAST = {"garment": 0.7, "colour": 0.9, "where": 0.5}  # of held-out questions, without drops
ROUNDING = 0.01  # of the share of right answers: another CPU rounds otherwise


@pytest.fixture(scope="module")
def route() -> LoadedRoute:
    torch.set_num_threads(1)
    return load_route(DIRECTORY, TorchDevice())


def test_it_says_where_it_comes_from_and_is_small(route: LoadedRoute) -> None:
    named = {"data_identity", "recipe", "commit", "seed", "points_from", "right", "agreement"}
    assert named <= set(route.manifest.provenance)
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 6e6


def test_what_it_can_do_was_measured_and_is_kept_by_question(route: LoadedRoute) -> None:
    provenance = route.manifest.provenance
    kept = json.loads((DIRECTORY / "operating-points.json").read_text())
    whole = dict(zip(provenance["families"], provenance["right"][0], strict=True))
    for family, least in LEAST.items():
        assert whole[family] >= least
    asked = np.array(kept["families"])
    for place, point in enumerate(kept["points"]):
        right = np.array([bit == "1" for bit in point["right"]])
        found = [float(right[asked == family].mean()) for family in provenance["families"]]
        assert found == pytest.approx(provenance["right"][place], abs=1e-4)


def test_a_picture_of_the_repository_is_described(route: LoadedRoute) -> None:
    picture = np.asarray(Image.open(PICTURE))
    inputs = {
        "prompt": np.array(["what is in row 1 column 1 ?"], object),
        "image": picture[None, None],
    }
    for visual_tokens in (144.0, 67.7):
        controls = {"visual_tokens": visual_tokens}
        (row,) = run_offline(route.pipeline, inputs, TorchDevice(), controls)
        assert row.outcome is not None
        assert str(row.outcome.outputs["text"]) == "t-shirt"


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
def test_its_points_are_those_of_the_provenance() -> None:
    from tokens.vision_language.files import read_model
    from training.data.grids.questions import FAMILIES
    from training.data.grids.scenes import load_sources
    from training.vision_language import route as recipe
    from training.vision_language.operating_points import draw_questions, measure

    model, _ = read_model(DIRECTORY, recipe.NAME)
    provenance = json.loads((DIRECTORY / "operating-points.json").read_text())
    _, held_out, _ = load_sources()
    asked = draw_questions(held_out, list(FAMILIES), recipe.QUESTIONS, recipe.SEED)
    assert [one.family for one in asked.questions] == provenance["families"]
    points = measure(model, asked, recipe.list_settings(model.spec))
    for found, said in zip(points, provenance["points"], strict=True):
        bits = np.array([bit == "1" for bit in said["right"]])
        assert found.right_Q.mean() == pytest.approx(bits.mean(), abs=ROUNDING)
        assert (found.right_Q == bits).mean() >= 1 - ROUNDING
