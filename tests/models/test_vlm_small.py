"""The shipped vision-language model: whole, small, and it answers as its provenance says."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.devices.torch import TorchDevice
from harness.live_server import ROOT
from routes.loading import LoadedRoute, find_routes, load_route
from routes.offline import run_offline
from tests.serving.chatting import open_chats

DIRECTORY = max(
    (path for path in find_routes(ROOT / "models") if path.parent.name == "vlm-small"),
    key=lambda path: int(path.name),
)
PICTURE = ROOT / "docs" / "pictures" / "vlm" / "grid.png"
LEAST = {
    "colour": 0.95,
    "garment": 0.75,
    "row": 0.7,
    "list": 0.5,
    "object": 0.4,
}  # of held-out questions, without drops
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


def test_the_stock_client_chats_about_a_picture_of_the_repository(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    (tmp_path / "vlm-small").symlink_to(DIRECTORY.parent)
    shown = base64.b64encode(PICTURE.read_bytes()).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{shown}"}}

    def ask(question: str) -> dict[str, Any]:
        content = [picture, {"type": "text", "text": question}]
        return {"model": "vlm-small", "messages": [{"role": "user", "content": content}]}

    async def main() -> None:
        async with open_chats(tmp_path, tiny=False) as server:
            client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")

            async def stream(question: str, visual_tokens: float) -> str:
                chunks = await client.chat.completions.create(
                    **ask(question), stream=True, extra_body={"visual_tokens": visual_tokens}
                )
                return "".join([one.choices[0].delta.content or "" async for one in chunks])

            rows = [("what is in row 1 column 1 ?", 144.0), ("list row 1", 67.7)]
            alone = [await stream(*row) for row in rows]
            assert alone[0] == "t-shirt"
            assert await asyncio.gather(*[stream(*row) for row in rows]) == alone
            await client.close()

    asyncio.run(main())


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
